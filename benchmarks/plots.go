package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/millrace/millrace/benchmarks/internal/svg"
	"github.com/millrace/millrace/engine"
)

// plots are the pictures, by the name of their file.
var plots = map[string]func(results) svg.Chart{
	"shards-single": func(rs results) svg.Chart {
		return shardsChart(rs, singleKiB, "Durable puts of single 1 KiB records, 256 callers")
	},
	"shards-batch": func(rs results) svg.Chart {
		return shardsChart(rs, batchKiB, "Durable puts of 500 × 1 KiB, 16 callers, scattered over the shards")
	},
	"latency-durable": func(rs results) svg.Chart {
		return latencyChart(rs, engine.Durable, "Durable put → answer and → processor, 16 shards")
	},
	"latency-relaxed": func(rs results) svg.Chart {
		return latencyChart(rs, engine.LoseOnPowerFailure, "Put → answer and → processor without a sync, 16 shards")
	},
}

// drawPlots draws what there are results for.
func drawPlots(dir, saved string) error {
	rs, err := loadResults(saved)
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	for name, chart := range plots {
		c := chart(rs)
		if !slices.ContainsFunc(c.Lines, func(l svg.Line) bool { return len(l.Points) > 0 }) {
			continue // not measured
		}
		if err := draw(filepath.Join(dir, name+".svg"), c); err != nil {
			return fmt.Errorf("plot: %w", err)
		}
	}
	return nil
}

func draw(file string, c svg.Chart) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := c.Write(f); err != nil {
		return err
	}
	return f.Close()
}

// shardsChart is the rate against the number of shards.
func shardsChart(rs results, l load, title string) svg.Chart {
	c := svg.Chart{Title: title, X: "shards", Y: "records/s"}
	shards := append([]int{1}, putScaling...)
	for _, n := range shards {
		c.Ticks = append(c.Ticks, svg.Tick{At: math.Log2(float64(n)), Name: strconv.Itoa(n)})
	}
	for _, who := range []string{millrace, millraceLog, filesSynced, filesSyncfs, pebbleSync, raftWAL, natsAlways} {
		line := svg.Line{Name: who, Main: who == millrace}
		for i, n := range shards {
			if who == millraceLog && n == 1 {
				continue // as large blocks are not rewritten, it is the same there
			}
			if v := put(who, recordRate, scaled(l, n)).only()(rs); len(v) > 0 {
				line.Points = append(line.Points, svg.Point{X: c.Ticks[i].At, Y: spreadOf(v).median})
			}
		}
		if who == raftWAL && len(line.Points) == 1 { // it has no shards, so it does not feel how many there are
			line.Points = append(line.Points, svg.Point{X: c.Ticks[len(c.Ticks)-1].At, Y: line.Points[0].Y})
		}
		if len(line.Points) > 1 {
			c.Lines = append(c.Lines, line)
		}
	}
	return c
}

// mostPlotted is the last percentile that every case has enough values for.
const mostPlotted = 99.9

// latencyChart is the distribution of the times: the further to the right, the
// rarer.
func latencyChart(rs results, d engine.Durability, title string) svg.Chart {
	c := svg.Chart{Title: title, X: "percentile", Y: "µs"}
	for _, p := range []float64{1, 50, 90, 99, mostPlotted} {
		c.Ticks = append(c.Ticks, svg.Tick{At: nines(p), Name: fmt.Sprintf("p%v", p)})
	}
	for _, rate := range latencyRates {
		name := "closed loop"
		if rate != closedLoop {
			name = fmt.Sprintf("%d/s", rate)
		}
		curve := func(what string) []svg.Point {
			return distributionOf(rs, func(p float64) quantity { return delay(what, p, d, rate) })
		}
		c.Lines = append(c.Lines,
			svg.Line{Name: name + " → processor", Points: curve(processed)},
			svg.Line{Name: name + " → answer", Points: curve(answered), Dashed: true})
	}
	if d == engine.Durable {
		points := distributionOf(rs, func(p float64) quantity { return bareSync(p, closedLoop) })
		c.Lines = append(c.Lines, svg.Line{Name: "bare write + fdatasync", Points: points, Main: true})
	}
	return c
}

// distributionOf is the medians of the rounds, for each percentile that is known.
func distributionOf(rs results, at func(percent float64) quantity) (points []svg.Point) {
	for _, p := range percents {
		if v := at(p).only()(rs); len(v) > 0 && p <= mostPlotted {
			points = append(points, svg.Point{X: nines(p), Y: spreadOf(v).median})
		}
	}
	return points
}

// nines gives each further nine of a percentile the same room.
func nines(percent float64) float64 { return -math.Log10(1 - percent/100) }
