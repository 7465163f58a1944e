//! Reads what a server's `/metrics` says.

use std::collections::HashMap;

/// The samples of all metrics, by name.
#[derive(Debug, Default)]
pub(super) struct Exposition(HashMap<String, Vec<Sample>>);

#[derive(Debug)]
pub(super) struct Sample {
    labels: Vec<(String, String)>,
    pub(super) value: f64,
}

impl Sample {
    /// Returns the value of a label; empty without it.
    pub(super) fn label(&self, name: &str) -> &str {
        let label = self.labels.iter().find(|(label, _)| label == name);
        label.map_or("", |(_, value)| value)
    }
}

impl Exposition {
    /// Reads the text format of Prometheus, as circled writes it. Lines that it can't read are left out.
    pub(super) fn read(text: &str) -> Self {
        let mut all = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, sample)) = sample(line) {
                all.0.entry(name.to_owned()).or_default().push(sample);
            }
        }
        all
    }

    /// Returns the samples of a metric.
    pub(super) fn samples(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.0.get(name).into_iter().flatten()
    }

    /// Returns the value of a metric without labels.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.samples(name).next().map(|sample| sample.value)
    }

    /// Returns the sum of those samples of a metric that are wanted.
    pub(super) fn sum(&self, name: &str, is_wanted: impl Fn(&Sample) -> bool) -> f64 {
        let wanted = self.samples(name).filter(|sample| is_wanted(sample));
        wanted.map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Option<(&str, Sample)> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels = Vec::new();
    let mut rest = rest.strip_prefix('{').unwrap_or(rest);
    while let Some((label, after)) = rest.split_once("=\"") {
        let end = after.find('"')?;
        labels.push((label.to_owned(), after[..end].to_owned()));
        rest = after[end + 1..].trim_start_matches([',', '}']);
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, Sample { labels, value }))
}

#[cfg(test)]
mod tests {
    use super::Exposition;

    #[test]
    fn samples_have_names_labels_and_values() {
        let text = "# TYPE circled_calls counter\n\
            circled_calls_total{method=\"play\",code=\"ok\"} 12\n\
            circled_calls_total{method=\"play\",code=\"-32000\"} 3\n\
            circled_time_bucket{le=\"+Inf\"} 1.5e3\n\
            circled_ready 1\n\
            nonsense\n\
            # EOF\n";
        let all = Exposition::read(text);
        assert_eq!(all.value("circled_ready"), Some(1.0));
        assert_eq!(all.sum("circled_calls_total", |_| true), 15.0);
        let is_ok = |sample: &super::Sample| sample.label("code") == "ok";
        assert_eq!(all.sum("circled_calls_total", is_ok), 12.0);
        let bucket = all.samples("circled_time_bucket").next().unwrap();
        assert_eq!((bucket.label("le"), bucket.value), ("+Inf", 1500.0));
        assert_eq!(all.value("nonsense"), None);
    }
}
