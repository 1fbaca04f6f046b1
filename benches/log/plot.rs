//! Draws lines over two logarithmic axes, as SVG, for light and for dark pages.

use std::fmt::Write as _;

/// One line of the picture.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// Its style.
    pub(crate) class: &'static str,
    /// Events, and milliseconds.
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 520.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 376.0;

/// Labels nearer to each other than this are moved apart.
const LABEL_HEIGHT: f64 = 17.0;

const STYLE: &str = "\
  svg { color-scheme: light dark; }
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 15px; font-weight: 600; }
  .faint { fill: #57606a; }
  .paper { fill: #ffffff; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
  .replay { stroke: #8250df; } .verify { stroke: #0969da; } .floor { stroke: #6e7781; }
  .at { stroke: #bc4c00; } line.floor, .line.floor { stroke-dasharray: 5 4; }
  circle { stroke-width: 0; }
  circle.replay { fill: #8250df; } circle.verify { fill: #0969da; }
  circle.floor { fill: #6e7781; } circle.at { fill: #bc4c00; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .faint { fill: #9198a1; }
    .paper { fill: #0d1117; }
    .grid { stroke: #30363d; }
    .replay { stroke: #b392f0; } .verify { stroke: #58a6ff; } .floor { stroke: #9198a1; }
    .at { stroke: #f0883e; }
    circle.replay { fill: #b392f0; } circle.verify { fill: #58a6ff; }
    circle.floor { fill: #9198a1; } circle.at { fill: #f0883e; }
  }
";

/// Powers of ten from at most `low` to at least `high`.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (i32, i32) {
    let low = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values.fold(0.0, f64::max).log10().ceil();
    (low as i32, (high as i32).max(low as i32 + 1))
}

fn events_label(power: i32) -> String {
    let digits = 10_f64.powi(power).to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn time_label(power: i32) -> String {
    match power {
        3.. => format!("{} s", 10_f64.powi(power - 3)),
        _ => format!("{} ms", 10_f64.powi(power)),
    }
}

/// The picture.
pub(crate) fn svg(all: &[Series]) -> String {
    let points = || all.iter().flat_map(|series| &series.points);
    let (x_low, x_high) = decades(points().map(|point| point.0));
    let (y_low, y_high) = decades(points().map(|point| point.1));
    let place = |value: f64, low: i32, high: i32, from: f64, to: f64| {
        from + (value.log10() - f64::from(low)) / f64::from(high - low) * (to - from)
    };
    let x = |value: f64| place(value, x_low, x_high, LEFT, RIGHT);
    let y = |value: f64| place(value, y_low, y_high, BOTTOM, TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <title>CPU time of verifying and replaying a log, against its length</title>\n\
         <style>\n{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"30\">CPU time against the length of the log</text>\n"
    );
    let mut add = |text: std::fmt::Arguments<'_>| {
        svg.write_fmt(text).expect("a string takes everything");
    };
    for power in x_low..=x_high {
        let at = x(10_f64.powi(power));
        add(format_args!(
            "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{BOTTOM}\"/>\n\
             <text class=\"faint\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            BOTTOM + 20.0,
            events_label(power)
        ));
    }
    for power in y_low..=y_high {
        let at = y(10_f64.powi(power));
        add(format_args!(
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\"/>\n\
             <text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 8.0,
            at + 4.0,
            time_label(power)
        ));
    }
    add(format_args!(
        "<text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">events in the log</text>\n",
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 44.0
    ));
    for series in all {
        let path: Vec<String> =
            series.points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
        let class = series.class;
        add(format_args!("<polyline class=\"line {class}\" points=\"{}\"/>\n", path.join(" ")));
        for (a, b) in &series.points {
            let (a, b) = (x(*a), y(*b));
            add(format_args!(
                "<circle class=\"{class}\" cx=\"{a:.1}\" cy=\"{b:.1}\" r=\"3.5\"/>\n"
            ));
        }
    }
    for (series, at) in labels(all, y) {
        let (class, name, end) = (series.class, series.name, series.points.last());
        let (from, own) = end.map_or((RIGHT, at), |(a, b)| (x(*a), y(*b)));
        add(format_args!(
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{own:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{name}</text>\n",
            from + 6.0,
            from + 20.0,
            from + 25.0,
            at + 4.0
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where each line's name stands: beside its last point, from top to bottom, none over another.
fn labels(all: &[Series], y: impl Fn(f64) -> f64) -> Vec<(&Series, f64)> {
    let last = |series: &Series| series.points.last().map_or(BOTTOM, |point| y(point.1));
    let mut placed: Vec<(&Series, f64)> = all.iter().map(|series| (series, last(series))).collect();
    placed.sort_by(|a, b| a.1.total_cmp(&b.1));
    for n in 1..placed.len() {
        placed[n].1 = placed[n].1.max(placed[n - 1].1 + LABEL_HEIGHT);
    }
    placed
}
