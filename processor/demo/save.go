package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Save writes the story as CloudTrail files below dir, one a trail and hour of delivery, laid out and named like those that
// CloudTrail puts into a bucket: something to scan for who has no bucket at hand. It returns the number of files.
func Save(seed uint64, now time.Time, dir string) (files int, err error) {
	s := NewStory(seed, Morning(now))
	open := map[int]*savedFile{}
	finish := func(f *savedFile) { err = errors.Join(err, f.close()) }
	put := func(r Record) bool {
		hour := r.Delivered.UTC().Truncate(time.Hour)
		f := open[r.Partition]
		if f != nil && !f.hour.Equal(hour) {
			finish(f)
			f = nil
		}
		if f == nil {
			files++
			account := fmt.Sprintf("trail-%02d", r.Partition)
			name := fmt.Sprintf("%s_CloudTrail_eu-central-1_%s_%06d.json.gz", account, hour.Format("20060102T1504Z"), files)
			var ferr error
			f, ferr = createSaved(filepath.Join(dir, "AWSLogs", account, "CloudTrail", "eu-central-1", hour.Format("2006/01/02"), name), hour)
			if ferr != nil {
				err = errors.Join(err, ferr)
				return false
			}
			open[r.Partition] = f
		}
		f.add(r.JSON)
		return err == nil
	}
	s.History(put)
	s.Live(put)
	for _, f := range open {
		finish(f)
	}
	return files, err
}

type savedFile struct {
	hour time.Time
	file *os.File
	zip  *gzip.Writer
	buf  *bufio.Writer
	n    int
}

func createSaved(path string, hour time.Time) (*savedFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	fd, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	z := gzip.NewWriter(fd)
	return &savedFile{hour: hour, file: fd, zip: z, buf: bufio.NewWriterSize(z, 64<<10)}, nil
}

// add relies on the writer to keep its first error for Flush.
func (f *savedFile) add(record []byte) {
	sep := ","
	if f.n == 0 {
		sep = `{"Records":[`
	}
	f.n++
	_, _ = io.WriteString(f.buf, sep)
	_, _ = f.buf.Write(record)
}

func (f *savedFile) close() error {
	_, _ = f.buf.WriteString("]}")
	return errors.Join(f.buf.Flush(), f.zip.Close(), f.file.Close())
}
