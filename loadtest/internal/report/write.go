package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write puts the result into dir, which is there already, as SCENARIO.json and
// SCENARIO.txt. Each is replaced as a whole or not at all.
func (r Result) Write(dir string) error {
	text, err := r.JSON()
	if err != nil {
		return err
	}
	return errors.Join(
		replace(filepath.Join(dir, r.Scenario+".json"), text),
		replace(filepath.Join(dir, r.Scenario+".txt"), []byte(r.Text())),
	)
}

func replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
