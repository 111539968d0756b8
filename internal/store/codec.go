package store

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/klauspost/compress/zstd"

	"cpcds2fhir/schemas/fhir"
)

// codec compresses bodies. For each type it trains one dictionary, once in the
// life of a store, from the first resources that are written; what is written
// before goes without.
type codec struct {
	db    *pebble.DB
	fault *fault
	plain *zstd.Encoder
	types [fhir.NumTypes]typeCodec

	mu    sync.Mutex // guards dicts and their use to make a new decoder
	dicts [][]byte
	dec   atomic.Pointer[zstd.Decoder]
}

type typeCodec struct {
	enc atomic.Pointer[zstd.Encoder] // nil until there is a dictionary

	mu      sync.Mutex
	samples *sampler // nil when no dictionary will be trained any more
}

// maxBody bounds what a body may expand to, so that a damaged one cannot ask for
// all memory.
const maxBody = 64 << 20

// newCodec loads the dictionaries of the store.
func newCodec(db *pebble.DB, readOnly bool, f *fault) (*codec, error) {
	c := &codec{db: db, fault: f}
	var err error
	if c.plain, err = newEncoder(nil); err != nil {
		return nil, err
	}
	for t := range c.types {
		if !readOnly {
			c.types[t].samples = &sampler{}
		}
	}
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{dictSpace}, UpperBound: []byte{dictSpace + 1}})
	if err != nil {
		return nil, fmt.Errorf("read dictionaries: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		v := it.Value()
		if len(it.Key()) != 5 || len(v) < 2 || v[0] >= byte(fhir.NumTypes) {
			return nil, errors.Join(&CorruptError{f.dir, "a dictionary"}, it.Close())
		}
		if err := c.use(fhir.Type(v[0]), append([]byte(nil), v[1:]...)); err != nil {
			return nil, errors.Join(err, it.Close())
		}
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("read dictionaries: %w", err)
	}
	if len(c.dicts) == 0 {
		return c, c.renewDecoder()
	}
	return c, nil
}

func (c *codec) close() { c.dec.Load().Close() }

// dictID is the id of the dictionary of a type; 0 says that there is none.
func dictID(t fhir.Type) uint32 { return uint32(t) + 1 }

func newEncoder(dict []byte) (*zstd.Encoder, error) {
	o := []zstd.EOption{
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithWindowSize(1 << 20),
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false), // Pebble has checksums
	}
	if dict != nil {
		o = append(o, zstd.WithEncoderDict(dict))
	}
	e, err := zstd.NewWriter(nil, o...)
	if err != nil {
		return nil, fmt.Errorf("make zstd encoder: %w", err)
	}
	return e, nil
}

// encoder returns the encoder for a type. It is safe for concurrent use.
func (c *codec) encoder(t fhir.Type) *zstd.Encoder {
	if e := c.types[t].enc.Load(); e != nil {
		return e
	}
	return c.plain
}

// decode appends the JSON of a body to b.
func (c *codec) decode(b []byte, v *body) ([]byte, error) {
	b, err := c.dec.Load().DecodeAll(v.frame, b)
	if err != nil {
		return b, &CorruptError{c.fault.dir, "a body"}
	}
	return b, nil
}

// use makes a dictionary the one of its type: first of the decoder, then of the
// encoder.
func (c *codec) use(t fhir.Type, dict []byte) error {
	e, err := newEncoder(dict)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dicts = append(c.dicts, dict)
	if err := c.renewDecoder(); err != nil {
		return err
	}
	c.types[t].enc.Store(e)
	return nil
}

// renewDecoder replaces the decoder by one that knows all dictionaries. The old
// one may be in use and is left to the garbage collector.
func (c *codec) renewDecoder() error {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxBody),
		zstd.WithDecoderDicts(c.dicts...))
	if err != nil {
		return fmt.Errorf("make zstd decoder: %w", err)
	}
	c.dec.Store(d)
	return nil
}

// sample shows a resource to the training of its type, and trains when enough
// were shown. The dictionary is durable before the first body needs it.
func (c *codec) sample(t fhir.Type, json []byte) error {
	tc := &c.types[t]
	if tc.enc.Load() != nil {
		return nil
	}
	tc.mu.Lock()
	defer tc.mu.Unlock()
	if tc.samples == nil || !tc.samples.add(json) {
		return nil
	}
	dict := train(dictID(t), tc.samples.kept)
	tc.samples = nil
	if dict == nil {
		return nil
	}
	value := append([]byte{byte(t)}, dict...)
	if err := c.fault.guard(func() error { return c.db.Set(dictKey(dictID(t)), value, pebble.Sync) }); err != nil {
		return fmt.Errorf("store dictionary: %w", err)
	}
	return c.use(t, dict)
}
