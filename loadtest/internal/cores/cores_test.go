package cores_test

import (
	"testing"

	"github.com/revocast/revocast/loadtest/internal/cores"
)

func TestList(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "3,1": "1,3", "0-3": "0-3", "0-3,8": "0-3,8", "2,1,2,0": "0-2", "7-7": "7", "0,2-4,6": "0,2-4,6", "1023": "1023",
	} {
		var l cores.List
		if err := l.UnmarshalText([]byte(text)); err != nil || l.String() != want {
			t.Errorf("%s reads %s, %v", text, l, err)
		}
	}
	for _, text := range []string{"", "a", "-1", "1-", "3-1", "0,", "1024", "0-70000", "1 2", "+1"} {
		var l cores.List
		if err := l.UnmarshalText([]byte(text)); err == nil || len(l) != 0 {
			t.Errorf("%q reads %v", text, l)
		}
	}
}
