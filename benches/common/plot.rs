//! Plots of lines, both axes logarithmic, as SVG.

use std::fmt::Write;

/// A line with a name.
pub struct Line {
    pub name: String,
    /// Positive on both axes.
    pub points: Vec<(f64, f64)>,
}

const COLOURS: [&str; 9] =
    ["#0060a8", "#d04000", "#008050", "#a000a0", "#a07000", "#404040", "#00a0c0", "#c00040", "#709000"];
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 48.0;

/// Draws lines over powers of ten.
pub fn plot(title: &str, across: &str, up: &str, lines: &[Line]) -> String {
    let bounds = |value: fn(&(f64, f64)) -> f64| {
        let all = lines.iter().flat_map(|line| line.points.iter().map(value));
        let (low, high) = all.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        (low.log10().floor(), high.log10().ceil().max(low.log10().floor() + 1.0))
    };
    let (x, y) = (bounds(|point| point.0), bounds(|point| point.1));
    let place = |point: &(f64, f64)| {
        let across = LEFT + (point.0.log10() - x.0) / (x.1 - x.0) * (WIDTH - LEFT - RIGHT);
        let up = HEIGHT - BOTTOM - (point.1.log10() - y.0) / (y.1 - y.0) * (HEIGHT - TOP - BOTTOM);
        (across, up)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"{}\">{across}</text>\n\
         <text transform=\"translate(16 {}) rotate(-90)\">{up}</text>\n",
        HEIGHT - 8.0,
        HEIGHT - BOTTOM
    );
    for power in x.0 as i32..=x.1 as i32 {
        let (at, _) = place(&(10f64.powi(power), 10f64.powf(y.0)));
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\" stroke=\"#ddd\"/>\n\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0,
            number(power)
        );
    }
    for power in y.0 as i32..=y.1 as i32 {
        let (_, at) = place(&(10f64.powf(x.0), 10f64.powi(power)));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            number(power)
        );
    }
    for (nth, line) in lines.iter().enumerate() {
        let colour = COLOURS[nth % COLOURS.len()];
        let points: Vec<(f64, f64)> = line.points.iter().map(place).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (x, y) in &points {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let at = TOP + 18.0 * nth as f64 + 8.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>\n<text x=\"{}\" y=\"{}\">{}</text>",
            WIDTH - RIGHT + 12.0,
            at - 5.0,
            WIDTH - RIGHT + 30.0,
            at,
            line.name
        );
    }
    svg + "</svg>\n"
}

fn number(power: i32) -> String {
    match power {
        0..=6 => 10u32.pow(power as u32).to_string(),
        _ => format!("1e{power}"),
    }
}
