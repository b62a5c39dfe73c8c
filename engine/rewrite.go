package engine

import (
	"context"
	"errors"
	"time"

	"github.com/millrace/millrace/engine/internal/wal"
)

// retryRewrite is the pause before another try to rewrite the log.
const retryRewrite = 5 * time.Second

// runRewriter brings what fills the log into files in which each shard's
// records lie together, as soon as there is [Config.ChunkBytes] of it.
func (e *Engine) runRewriter(ctx context.Context) {
	rewriter := e.log.NewRewriter()
	retry := time.NewTimer(0)
	retry.Stop()
	failing, waiting := false, false // for another try
	for {
		select {
		case <-e.log.Filled():
		case <-retry.C:
			waiting = false
		case <-ctx.Done():
			return
		}
		more, err := true, error(nil)
		for more && err == nil && e.log.Err() == nil {
			more, err = e.rewrite(ctx, rewriter)
		}
		var lost *wal.Lost
		switch {
		case ctx.Err() != nil:
			return
		case errors.As(err, &lost):
			e.logger.Error("stored records are damaged; the log is not rewritten from there on before their loss is accepted",
				"file", lost.File, "offset", lost.Offset, "detail", lost.Detail)
			continue
		case err != nil && !failing:
			e.logger.Error("cannot rewrite the log by shards; trying again", "err", err)
		case err == nil && failing:
			e.logger.Info("the log can be rewritten by shards again")
		}
		if failing = err != nil; failing && !waiting {
			retry.Reset(retryRewrite)
			waiting = true
		}
	}
}

// rewrite closes some segments of the log, and reports whether there were any.
func (e *Engine) rewrite(ctx context.Context, r *wal.Rewriter) (done bool, err error) {
	begun := time.Now()
	e.expire()
	w, err := r.Next(ctx, e.classes())
	if w == nil || err != nil {
		return false, err
	}
	end, err := e.begin(ctx)
	if err != nil {
		w.Discard()
		return false, err
	}
	defer end()
	err = w.Commit(func(files wal.Files) error { return e.save(ctx, &change{files: &files}) })
	if err != nil {
		return false, err
	}
	e.logger.Debug("rewrote a part of the log by shards", "blocks", w.Blocks, "written", w.Written, "took", time.Since(begun))
	return true, nil
}

// classes tells shards apart by how long their records stay: those of equal
// retention share files, and so leave together.
func (e *Engine) classes() func(handle uint64) uint64 {
	class := map[uint64]uint64{}
	for _, s := range e.snapshot() {
		retention := uint64(s.settings.Load().retention)
		for _, m := range s.topology.Load().all {
			class[m.handle] = retention
		}
	}
	return func(handle uint64) uint64 { return class[handle] }
}
