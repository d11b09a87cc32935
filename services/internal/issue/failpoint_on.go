//go:build failpoint

package issue

import (
	"fmt"
	"os"
)

// failpoint stops the caller for good if the environment names it, so that a test
// can kill the process between two writes.
func failpoint(name string) {
	if os.Getenv("REVOCAST_FAILPOINT") == name {
		fmt.Fprintln(os.Stderr, "failpoint reached: "+name)
		select {}
	}
}
