package report

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
)

// Measures of the picture, in pixels.
const (
	width   = 860
	margin  = 20
	names   = 150 // width of the names
	values  = 190 // width kept free for the numbers behind the longest bar
	rowStep = 24
	barHigh = 14
	titled  = 34 // from a chart's top to its first row
	between = 22
)

// SVG writes the charts as one picture that follows the reader's choice of a
// dark or light page.
func SVG(w io.Writer, r *Run) error {
	b := bufio.NewWriter(w)
	high := margin
	for _, c := range r.Charts {
		high += titled + rowStep*len(c.Bars) + between
	}
	high += 14
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="Benchmark results">`+"\n", width, high, width, high)
	b.WriteString(`<style>
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:#1f2328}
.t{font-weight:600}.s{fill:#59636e}.n{text-anchor:end}
.b{fill:#afb8c1}.o{fill:#0969da}.w{stroke:#1f2328;stroke-width:1.2}.g{stroke:#d1242f;stroke-width:1.5;stroke-dasharray:4 3}.gt{fill:#d1242f;font-size:11px}.z{stroke:#d1d9e0}.c{stroke:#fff;stroke-width:4}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.s{fill:#9198a1}.b{fill:#656c76}.o{fill:#4493f8}.w{stroke:#f0f6fc}.g{stroke:#f85149}.gt{fill:#f85149}.z{stroke:#3d444d}.c{stroke:#0d1117}}
</style>
`)
	y := margin
	for _, c := range r.Charts {
		y = chart(b, c, y) + between
	}
	fmt.Fprintf(b, `<text class="s" x="%d" y="%d" style="font-size:11px">%s</text>`+"\n", margin, y, html.EscapeString(r.Date+" · "+r.Machine+" · "+r.Versions))
	b.WriteString("</svg>\n")
	return b.Flush()
}

// chart draws c from y on and returns where it ends.
func chart(b *bufio.Writer, c Chart, y int) int {
	fmt.Fprintf(b, `<text x="%d" y="%d"><tspan class="t">%s</tspan><tspan class="s"> %s, %s is better</tspan></text>`+"\n",
		margin, y+12, html.EscapeString(c.Title), html.EscapeString(c.Unit), html.EscapeString(c.Better))
	end := scale(c)
	at := func(v float64) float64 {
		return float64(margin+names) + math.Min(v/end, 1)*float64(width-2*margin-names-values)
	}
	top := y + titled - 8
	for i, bar := range c.Bars {
		row := top + i*rowStep
		class := "b"
		if bar.Ours {
			class = "o"
		}
		fmt.Fprintf(b, `<text class="n" x="%d" y="%d">%s</text>`, margin+names-8, row+12, html.EscapeString(bar.Name))
		if bar.Value.N == 0 || math.IsNaN(bar.Value.Value) {
			fmt.Fprintf(b, `<text class="s" x="%d" y="%d">not measured</text>`+"\n", margin+names+4, row+12)
			continue
		}
		x := at(bar.Value.Value)
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, class, margin+names, row+1, math.Max(x-float64(margin+names), 1), barHigh)
		text := x
		if bar.Value.Value > end { // the bar is cut: say so with a gap
			fmt.Fprintf(b, `<path d="M%.1f %dl-6 %d" class="c"/>`, x-14, row, barHigh+2)
		} else if bar.Value.High > bar.Value.Low {
			fmt.Fprintf(b, `<line class="w" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, at(bar.Value.Low), row+1+barHigh/2, at(bar.Value.High), row+1+barHigh/2)
			text = math.Max(x, at(bar.Value.High))
		}
		fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", text+6, row+12, html.EscapeString(number(bar.Value, c.Digits, true)))
	}
	bottom := top + rowStep*len(c.Bars)
	fmt.Fprintf(b, `<line class="z" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", margin+names, top-2, margin+names, bottom-4)
	if c.Limit > 0 && c.Limit <= end {
		fmt.Fprintf(b, `<line class="g" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="gt" x="%.1f" y="%d">goal %s</text>`+"\n",
			at(c.Limit), top-4, at(c.Limit), bottom-2, at(c.Limit)+4, top-6, thousands(c.Limit, c.Digits))
	}
	return bottom
}

// scale returns the value at which bars end. Where one target is far off, it
// is cut, lest it press all others together.
func scale(c Chart) float64 {
	ours, all := c.Limit, []float64{c.Limit}
	for _, bar := range c.Bars {
		if bar.Value.N == 0 || math.IsNaN(bar.Value.Value) {
			continue
		}
		all = append(all, bar.Value.High)
		if bar.Ours {
			ours = math.Max(ours, bar.Value.High)
		}
	}
	most := slices.Max(all)
	if c.Better == "less" && ours > 0 && most > 6*ours {
		return 6 * ours
	}
	return math.Max(most, math.SmallestNonzeroFloat64)
}
