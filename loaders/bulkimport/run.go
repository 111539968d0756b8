package bulkimport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cpcds2fhir/internal/fhirclient"
)

// attemptsMost is how often the start of a job is tried.
const attemptsMost = 5

// doubtsMost is how often an answer must come that may be one of something in between.
const doubtsMost = 3

// laterError says that a server does not start a job now.
type laterError struct{ after time.Duration }

func (e *laterError) Error() string { return "the server has too much to do" }

// stageError is a fault of the stage: the server has not been asked yet.
type stageError struct{ err error }

func (e *stageError) Error() string { return "prepare the staged files: " + plain(e.err).Error() }

func (e *stageError) Unwrap() error { return e.err }

// Run imports what is staged, type by type, and returns when all jobs have ended. What a job has not
// imported is no error: the load that follows sends it. An error is one of the jobs themselves, such as a
// *JobError; run again, and Run goes on where it was.
func (i *Import) Run(ctx context.Context) error {
	switch i.journal.Phase {
	case phaseStaging:
		return errors.New("import: the staging pass is not complete")
	case phaseStaged:
		if err := i.upload(ctx); err != nil {
			return err
		}
	case phaseImported:
		return nil
	}
	for _, typ := range i.journal.types() {
		files := i.journal.filesOf(typ)
		for from := 0; from < len(files); {
			to := len(files)
			if most := i.kind.traits().files; most > 0 {
				to = min(to, from+most)
			}
			if err := i.runJob(ctx, typ, files[from:to]); err != nil {
				return err
			}
			from = to
		}
	}
	i.journal.Phase = phaseImported
	return i.journal.save()
}

// upload makes the staged files available to the server.
func (i *Import) upload(ctx context.Context) error {
	for n := range i.journal.Files {
		f := &i.journal.Files[n]
		if f.Uploaded {
			continue
		}
		if err := i.stage.put(ctx, f); err != nil {
			return fmt.Errorf("stage %s: %w", f.Name, plain(err))
		}
		f.Uploaded = true
		if err := i.journal.save(); err != nil {
			return err
		}
	}
	i.journal.Phase = phaseUploaded
	return i.journal.save()
}

// runJob imports files of one type, and goes on with the job that an earlier process has begun for them.
func (i *Import) runJob(ctx context.Context, typ string, files []*file) error {
	var lines int64
	for _, f := range files {
		lines += f.Lines
	}
	j := i.journal.of(typ, files[0].Name)
	if j != nil && j.State == jobEnded {
		return nil
	}
	for attempt := 1; ; attempt++ {
		if j == nil || j.State == jobGone {
			j = &job{Type: typ, First: files[0].Name, Attempt: i.journal.attempts(typ) + 1, Token: newToken(), State: jobIntended, Lines: lines, fresh: true}
			i.journal.Jobs = append(i.journal.Jobs, j)
		}
		if j.State == jobIntended {
			if err := i.begin(ctx, j, files); err != nil {
				return err
			}
		}
		if j.State == jobRunning {
			if err := i.follow(ctx, j); err != nil {
				return err
			}
		}
		if j.State == jobEnded {
			return nil
		}
		if attempt == attemptsMost {
			return &JobError{Job: j.name(), What: "the server does not answer when it is asked to start it, and has imported nothing"}
		}
	}
}

// of is the last job of the files that begin with one.
func (j *journal) of(typ, first string) (last *job) {
	for _, k := range j.Jobs {
		if k.Type == typ && k.First == first {
			last = k
		}
	}
	return last
}

func (j *journal) attempts(typ string) (n int) {
	for _, k := range j.Jobs {
		if k.Type == typ {
			n++
		}
	}
	return n
}

// begin starts a job, or finds out whether it was started. That it will be is durable before.
func (i *Import) begin(ctx context.Context, j *job, files []*file) error {
	pause, deadline := i.pace.first, time.Now().Add(i.pace.patience)
	for {
		if !j.fresh {
			found, err := i.lookFor(ctx, j)
			if err != nil || found || j.State != jobIntended {
				return err
			}
		}
		if j.Begun.IsZero() {
			j.Begun = time.Now().UTC()
		}
		if err := i.journal.save(); err != nil {
			return err
		}
		handle, err := i.kind.kickOff(ctx, j, files)
		if err == nil {
			return i.started(j, handle)
		}
		wait := pause
		later, busy := errors.AsType[*laterError](err)
		switch {
		case ctx.Err() != nil:
			j.fresh = false
			return ctx.Err()
		case final(err):
			i.gone(j)
			return errors.Join(err, i.journal.save())
		case time.Now().After(deadline):
			j.fresh = false
			return fmt.Errorf("import job %s: start it: %w", j.name(), plain(err))
		case busy: // it was not started
			wait = max(pause, min(later.after, i.pace.heed))
			i.progress(j, "the server has too much to do")
		default:
			j.fresh = false
			i.progress(j, "the server has not answered its start")
		}
		if err := i.wait(ctx, wait); err != nil {
			return err
		}
		pause = min(2*pause, i.pace.most)
	}
}

// final reports whether an error of a kick-off says that no job was started.
func final(err error) bool {
	if _, ok := errors.AsType[*JobError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*stageError](err); ok {
		return true
	}
	if e, ok := errors.AsType[*fhirclient.Error](err); ok && e.Status/100 == 4 {
		return true
	}
	return errors.Is(err, fhirclient.ErrAuthentication)
}

func (i *Import) gone(j *job) { j.State = jobGone }

func (i *Import) started(j *job, handle string) error {
	j.Handle, j.State, j.ours = handle, jobRunning, true
	if err := i.journal.save(); err != nil {
		return err
	}
	if i.events.Started != nil {
		i.events.Started(j.name(), j.Type)
	}
	return nil
}

// lookFor finds a job whose start was not answered. If the server can be asked again with the same
// token, that is how. Otherwise what it has is looked at, until nothing moves any longer.
func (i *Import) lookFor(ctx context.Context, j *job) (found bool, err error) {
	if i.kind.traits().again {
		return false, nil
	}
	deadline := time.Now().Add(i.pace.patience)
	for pause := i.pace.first; ; pause = min(2*pause, i.pace.most) {
		handle, ok, err := i.kind.find(ctx, j)
		if err == nil && ok {
			err := i.started(j, handle)
			j.ours = false
			return true, err
		}
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if final(err) || time.Now().After(deadline) {
			return false, fmt.Errorf("import job %s: ask whether it was started: %w", j.name(), err)
		}
		if err := i.wait(ctx, pause); err != nil {
			return false, err
		}
	}
	if i.kind.traits().knows {
		i.gone(j)
		return false, i.journal.save()
	}
	return false, i.settle(ctx, j)
}

// settle finds out what a job has done that cannot be asked: it waits until what the server has of its
// files does not change any longer. If it has nothing of them, the job was not started.
func (i *Import) settle(ctx context.Context, j *job) error {
	sample, err := i.sample(j)
	if err != nil {
		return err
	}
	quiet := time.Now().Add(i.pace.settle)
	before, fetching := -1, false
	for pause := i.pace.first; time.Now().Before(quiet); pause = min(2*pause, i.pace.most) {
		there, err := i.there(ctx, sample)
		if err != nil {
			return fmt.Errorf("import job %s: look whether it was started: %w", j.name(), err)
		}
		fetched, known := i.stage.fetched(j)
		switch {
		case there == len(sample):
			return i.ended(j, &report{imported: -1, failed: -1}, time.Since(j.Begun))
		case there != before && before >= 0:
			quiet = time.Now().Add(i.pace.settle)
			pause = i.pace.first
		case known && fetched && !fetching:
			quiet, fetching = time.Now().Add(i.pace.settle), true
		}
		before = there
		i.progress(j, fmt.Sprintf("%d of %d samples are there", there, len(sample)))
		if err := i.wait(ctx, pause); err != nil {
			return err
		}
	}
	if before > 0 {
		return i.ended(j, &report{imported: -1, failed: -1}, time.Since(j.Begun))
	}
	i.gone(j)
	return i.journal.save()
}

// samples is how many resources of a job are looked at.
const samples = 40

// sample picks resources of the files of a job, spread over all of them.
func (i *Import) sample(j *job) ([]fhirclient.Reference, error) {
	every := max(1, j.Lines/samples)
	var refs []fhirclient.Reference
	var n int64
	for _, f := range i.journal.filesOf(j.Type) {
		err := eachLine(i.local(f), func(_ int64, line []byte) error {
			if id := idOf(line); id != "" && n%every == 0 {
				refs = append(refs, fhirclient.Reference{Type: j.Type, ID: id})
			}
			n++
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the staged files: %w", err)
		}
	}
	return refs, nil
}

// there counts the resources that the server has.
func (i *Import) there(ctx context.Context, refs []fhirclient.Reference) (n int, err error) {
	answers, err := i.server.Read(ctx, refs)
	if err != nil {
		return 0, err
	}
	for k := range answers {
		if answers[k].Status/100 == 2 {
			n++
		}
	}
	return n, nil
}

// follow asks how a job is until it has ended. An answer that fails says nothing of the job.
func (i *Import) follow(ctx context.Context, j *job) error {
	pause, doubts := i.pace.first, 0
	silent := time.Now() // since when the server has given no answer
	for {
		next := pause
		p, err := i.kind.poll(ctx, j)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			if final(err) || time.Since(silent) > i.pace.patience {
				return fmt.Errorf("import job %s: ask how it is: %w", j.name(), plain(err))
			}
			i.progress(j, "the server does not say how it is")
		case p.done && p.doubt && doubts+1 < doubtsMost:
			doubts++
			silent = time.Now()
		case p.done:
			return i.end(ctx, j, p)
		default:
			doubts, silent = 0, time.Now()
			i.progress(j, p.what)
			if p.after > pause && p.after <= i.pace.heed {
				next = p.after
			}
		}
		if err := i.wait(ctx, next); err != nil {
			return err
		}
		pause = min(pause*3/2, i.pace.most)
	}
}

// end takes over the report of a job.
func (i *Import) end(ctx context.Context, j *job, p *progress) error {
	if !j.ours && p.report.imported < 0 {
		again, err := i.deserted(ctx, j)
		if err != nil {
			return err
		}
		if again {
			i.gone(j)
			return i.journal.save()
		}
		p.report.barred = nil
	}
	if p.report.barred != nil {
		i.gone(j)
		return errors.Join(p.report.barred, i.journal.save())
	}
	return i.ended(j, &p.report, time.Since(j.Begun))
}

// deserted reports whether a job of an earlier process has failed because that process has ended, and its
// files with it: nothing was imported then.
func (i *Import) deserted(ctx context.Context, j *job) (bool, error) {
	if _, local := i.stage.(*folderStage); !local {
		return false, nil
	}
	sample, err := i.sample(j)
	if err != nil {
		return false, err
	}
	there, err := i.there(ctx, sample)
	if err != nil {
		return false, fmt.Errorf("import job %s: look what it has imported: %w", j.name(), err)
	}
	return there == 0, nil
}

// ended makes the end of a job durable, with what it has refused.
func (i *Import) ended(j *job, r *report, took time.Duration) error {
	named, err := i.keep(j, r.named)
	if err != nil {
		return err
	}
	j.Imported, j.Failed, j.Named = r.imported, r.failed, named
	if r.imported >= 0 && r.failed >= 0 && r.imported+r.failed != j.Lines {
		// What the server says does not add up. All of it will be verified anyway.
		j.Failed = max(0, j.Lines-r.imported)
	}
	j.State = jobEnded
	if err := i.journal.save(); err != nil {
		return err
	}
	if i.events.Ended != nil {
		i.events.Ended(j.name(), r.imported, j.Failed, took)
	}
	return nil
}

func (i *Import) progress(j *job, what string) {
	if i.events.Progress != nil && what != "" {
		i.events.Progress(j.name(), what)
	}
}

func (i *Import) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
