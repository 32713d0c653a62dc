// Checks what Davy made with Go's own transparency log library; reads its arguments from files.
//
//	verify FOLDER
//
// FOLDER holds checkpoint (a signed note), vkey, record (the leaf's bytes), index and proof (one
// base64 hash a line), and the log's tile/ folder. Prints "ok", or says what failed and exits 1.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func read(name string) []byte {
	data, err := os.ReadFile(filepath.Join(os.Args[1], name))
	check(err)
	return data
}

// files reads full tiles in the C2SP layout and cuts partial ones from the leaf hashes given beside them.
type files struct{}

func (files) Height() int                     { return 8 }
func (files) SaveTiles([]tlog.Tile, [][]byte) {}
func (files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, t := range tiles {
		// sumdb says tile/8/L/NNN, C2SP says tile/L/NNN.
		path := strings.Replace(t.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(os.Args[1], path))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func main() {
	verifier, err := note.NewVerifier(string(bytes.TrimSpace(read("vkey"))))
	check(err)
	opened, err := note.Open(read("checkpoint"), note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := tlog.ParseHash(lines[2])
	check(err)
	index, err := strconv.ParseInt(string(bytes.TrimSpace(read("index"))), 10, 64)
	check(err)

	var proof tlog.RecordProof
	for _, line := range strings.Fields(string(read("proof"))) {
		hash, err := tlog.ParseHash(line)
		check(err)
		proof = append(proof, hash)
	}
	record := tlog.RecordHash(read("record"))
	check(tlog.CheckRecord(proof, size, root, index, record))

	// The same proof, made by Go from Davy's tiles, must be the same hashes.
	reader := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, files{})
	made, err := tlog.ProveRecord(size, index, reader)
	check(err)
	if fmt.Sprint(made) != fmt.Sprint(proof) {
		check(fmt.Errorf("Go's proof from the tiles differs"))
	}
	fmt.Println("ok")
}
