package badgerstore_test
import ("testing";"time";"fmt";"os";"github.com/revocast/revocast/sidecar/internal/denylist/denylisttest")
func TestZZ(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ls := func() { es,_ := os.ReadDir(dir+"/badger"); for _,e := range es { i,_ := e.Info(); fmt.Print(e.Name()," ",i.Size()/1024,"k; ") }; fmt.Println() }
	for round := range 3 {
		fill(t, s, round*500000, 500000)
		time.Sleep(time.Second)
		fmt.Println("full", diskBytes(t, dir)>>20, "MB"); ls()
		st := time.Now()
		if err := s.Expire(t.Context(), denylisttest.Now().Add(2*time.Hour)); err != nil { t.Fatal(err) }
		fmt.Println("expired", diskBytes(t, dir)>>20, "MB", time.Since(st)); ls()
		time.Sleep(2*time.Second)
		fmt.Println("later", diskBytes(t, dir)>>20, "MB"); ls()
	}
}
