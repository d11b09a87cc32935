// Package reload notices that a configuration file says something else than before.
//
// It is told by the file system (fsnotify), about the directories that the file and,
// through symbolic links, its content are in: editors and Kubernetes do not write a
// file anew but put another in its place. And since no event comes from some file
// systems, or when too many have come, it looks by itself twice a minute.
//
// Invariants:
//
//   - A change is noticed once the file has been left alone for a moment, so that one
//     which is being written is not taken for a short one. Only putting another in
//     its place is safe from that altogether.
//   - The same content is reported once, whatever was done to the file.
package reload

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

const (
	// quiet is how long a file must not have been written to.
	quiet = 250 * time.Millisecond
	// lookEvery is how often the file is looked at without being told to.
	lookEvery = 30 * time.Second
)

// File is one file that is watched. Make one with [Open].
type File struct {
	name  string
	limit int64
	log   *zap.Logger
	seen  [sha256.Size]byte
}

// Open remembers what the file says now. Of a file larger than limit bytes only so
// much is compared.
func Open(name string, limit int64, log *zap.Logger) *File {
	f := &File{name: name, limit: limit, log: log}
	f.seen = f.sum()
	return f
}

// Run calls changed whenever the file says something else than before, that it is
// gone included, until ctx ends. It is called once at most.
func (f *File) Run(ctx context.Context, changed func()) error {
	var told <-chan fsnotify.Event
	var faults <-chan error
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = watcher.Close() }() // it is only read from
		told, faults = watcher.Events, watcher.Errors
		err = f.follow(watcher)
	}
	if err != nil {
		f.log.Warn("file is looked at now and then only", zap.String("file", f.name), zap.Error(err))
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	settled := time.NewTimer(0) // for what was done before anybody watched
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-told:
			settled.Reset(quiet)
			continue
		case err := <-faults:
			f.log.Warn("file may have changed unnoticed", zap.String("file", f.name), zap.Error(err))
		case <-tick.C:
		case <-settled.C:
		}
		if rest := f.unrest(); rest > 0 {
			settled.Reset(rest)
			continue
		}
		if watcher != nil {
			_ = f.follow(watcher) // where it cannot, the ticker looks
		}
		if sum := f.sum(); sum != f.seen {
			f.seen = sum
			changed()
		}
	}
}

// follow watches the directories of the file and of what it links to, which may be
// others than before.
func (f *File) follow(w *fsnotify.Watcher) error {
	err := w.Add(filepath.Dir(f.name))
	content, err2 := filepath.EvalSymlinks(f.name)
	if err2 == nil {
		err2 = w.Add(filepath.Dir(content))
	}
	return errors.Join(err, err2)
}

// unrest is how long to wait because the file has just been written to.
func (f *File) unrest() time.Duration {
	info, err := os.Stat(f.name)
	if err != nil {
		return 0
	}
	if age := time.Since(info.ModTime()); age >= 0 && age < quiet {
		return quiet - age
	}
	return 0
}

// sum tells contents apart; zero for one that cannot be read.
func (f *File) sum() (sum [sha256.Size]byte) {
	file, err := os.Open(f.name)
	if err != nil {
		return sum
	}
	defer func() { _ = file.Close() }() // it is only read
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(file, f.limit)); err != nil {
		return sum
	}
	return [sha256.Size]byte(h.Sum(nil))
}
