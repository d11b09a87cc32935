package badgerstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4/y"
)

// logsOf gives the logs of recent writes, the newest last. They have numbers for names.
func logsOf(dir string) ([]string, error) {
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	slices.SortFunc(logs, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
	return logs, err
}

// inspectOlderLog reads a log that is not the newest, as there is one after a kill while
// Badger made a table of it. Badger keeps what stands before the first record that is not
// whole and says nothing of the rest, while the newer log has the cursor.
func inspectOlderLog(name string) error {
	b, err := os.ReadFile(name) // #nosec G304 -- in our own directory
	if err != nil {
		return fmt.Errorf("inspecting: %w", err)
	}
	if !wholeLog(b) {
		return fmt.Errorf("%w: %s has a record that is not whole", errDamaged, filepath.Base(name))
	}
	return nil
}

// logHeader is what a log begins with: the number of a key, and a nonce.
const logHeader = 8 + 12

// wholeLog reports whether a log is nothing but whole records and then zeros. A record is
// two bytes of flags; the lengths of key and value, and an expiry, as uvarints; key; value;
// CRC-32C of all that.
func wholeLog(b []byte) bool {
	if len(b) < logHeader {
		return false
	}
	for b = b[logHeader:]; len(b) > 0; {
		key, n := uvarint(b, 2)
		value, n := uvarint(b, n)
		_, n = uvarint(b, n)
		if key == 0 {
			break
		}
		if n == 0 || key > uint64(len(b)) || value > uint64(len(b)) {
			return false
		}
		end := n + int(key) + int(value) // #nosec G115 -- each at most the log's length
		if end+crc32.Size > len(b) || binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], y.CastagnoliCrcTable) {
			return false
		}
		b = b[end+crc32.Size:]
	}
	return len(bytes.Trim(b, "\x00")) == 0
}

// uvarint reads a number and says where the next begins; zero if there is none.
func uvarint(b []byte, at int) (value uint64, next int) {
	if at == 0 || at > len(b) {
		return 0, 0
	}
	value, n := binary.Uvarint(b[at:])
	if n <= 0 {
		return 0, 0
	}
	return value, at + n
}
