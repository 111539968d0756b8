package bulkimport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cpcds2fhir/loaders/ndjson"
)

// lockState keeps other processes from an import. The lock is beside the state folder, which is removed when
// the import is complete.
func lockState(state string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Clean(state)+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the import: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ndjson.ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("open %s: %w", state, err), f.Close())
	}
	return f, nil
}

// takeOver ends what another import has left in the state folder: its jobs are waited for, because they must
// not write anything later than this load does, and what it has staged is removed. Its journal is kept until
// that is done.
func takeOver(ctx context.Context, o *Options, kindName string, s surroundings) error {
	before, err := readJournal(filepath.Join(o.State, journalName))
	if err != nil || before == nil || before.belongsTo(o, kindName) {
		return err
	}
	left := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &OtherRunError{State: o.State, Stage: before.Stage, Err: plain(err)}
	}
	if before.busy() && before.Server != o.Server.URL() {
		return left(errors.New("they are jobs of another server"))
	}
	old, err := reopen(ctx, o, before, s)
	if err != nil {
		return left(err)
	}
	err = old.endJobs(ctx)
	if err == nil {
		err = old.stage.remove(ctx, before.names())
	}
	if err = errors.Join(err, old.stage.close()); err != nil {
		return left(err)
	}
	for _, name := range []string{"ndjson", filesFolder, failuresName, journalName} {
		if err := os.RemoveAll(filepath.Join(o.State, name)); err != nil {
			return fmt.Errorf("forget an earlier import: %w", err)
		}
	}
	return nil
}

// belongsTo reports whether a journal is that of an import.
func (j *journal) belongsTo(o *Options, kindName string) bool {
	return j.Run == o.Run && j.Server == o.Server.URL() && j.Kind == kindName && j.Stage == publicURL(o.Stage)
}

// reopen opens an import as its journal says. What the journal does not say, such as the region of a bucket, is
// taken from the import that takes its place.
func reopen(ctx context.Context, o *Options, j *journal, s surroundings) (*Import, error) {
	was := *o
	was.Run, was.Stage, was.Start = j.Run, j.Stage, maps.Clone(o.Start)
	now, err := url.Parse(o.Stage)
	then, err2 := url.Parse(j.Stage)
	if err == nil && err2 == nil && now.Scheme == then.Scheme {
		then.RawQuery = now.RawQuery
		was.Stage = then.String()
	}
	if was.Start == nil {
		was.Start = map[string]string{}
	}
	was.Start["kind"] = j.Kind
	k, err := newKind(&was)
	if err != nil {
		return nil, err
	}
	return assemble(ctx, &was, k, j, s)
}

// endJobs waits for the jobs that were started, or may have been. It starts none, unless that is how the server
// is asked whether one was.
func (i *Import) endJobs(ctx context.Context) error {
	for _, j := range i.journal.Jobs {
		var err error
		switch {
		case j.State != jobIntended:
		case i.kind.traits().again:
			err = i.begin(ctx, j, i.journal.filesOfJob(j, i.kind.traits().files))
		default:
			_, err = i.lookFor(ctx, j)
		}
		if err == nil && j.State == jobRunning {
			err = i.follow(ctx, j)
		}
		if _, failed := errors.AsType[*JobError](err); err != nil && !failed {
			return err
		}
	}
	return nil
}

// filesOfJob are the files that a job was started with: from its first on, most of them, 0 being all.
func (j *journal) filesOfJob(k *job, most int) []*file {
	files := j.filesOf(k.Type)
	for n, f := range files {
		if f.Name == k.First {
			files = files[n:]
			break
		}
	}
	if most > 0 && len(files) > most {
		files = files[:most]
	}
	return files
}
