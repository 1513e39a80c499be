package main

import (
	"io"
	"os"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/farcall/farcall/processor/alert"
)

// printer writes alerts as lines for a person, or as the documents that they are.
type printer struct {
	w      io.Writer
	output string
	color  bool
	headed bool
}

func newPrinter(w *os.File, output string) *printer {
	return &printer{w: w, output: output, color: isTerminal(w)}
}

// isTerminal says whether colours make sense. NO_COLOR is honoured.
func isTerminal(f *os.File) bool {
	if os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	text.EnableColors()
	return true
}

// print writes an ECS document.
func (p *printer) print(doc []byte) error {
	if p.output == "ndjson" {
		_, err := p.w.Write(append(doc[:len(doc):len(doc)], '\n'))
		return err
	}
	b, err := alert.ParseBrief(doc)
	if err != nil {
		return err
	}
	return p.line(b)
}

func (p *printer) line(b alert.Brief) error {
	if !p.headed {
		p.headed = true
		if err := alert.WriteHeader(p.w); err != nil {
			return err
		}
	}
	return b.WriteLine(p.w, p.color)
}
