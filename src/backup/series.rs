//! The backups in a folder, of which some are kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

use super::new_file::{NewFile, PARTIAL};

const BEGIN: &str = "circled-";
const END: &str = ".backup";

/// The backups that a server has made in a folder. Other files there are left alone.
#[derive(Debug)]
pub struct Series<'a>(pub &'a Path);

impl Series<'_> {
    /// Returns the name of a backup that is made at a time.
    pub fn name(&self, at: Timestamp) -> PathBuf {
        let time = at.strftime("%Y%m%dT%H%M%SZ");
        self.0.join(format!("{BEGIN}{time}{END}"))
    }

    /// Returns them, the oldest first.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn all(&self) -> io::Result<Vec<PathBuf>> {
        self.find(is_ours)
    }

    /// Returns the files whose names are some of these, sorted.
    fn find(&self, is_wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.0)? {
            let name = entry?.file_name();
            names.extend(
                name.to_str()
                    .filter(|name| is_wanted(name))
                    .map(str::to_owned),
            );
        }
        names.sort();
        Ok(names.into_iter().map(|name| self.0.join(name)).collect())
    }

    /// Deletes those that a process has begun and not finished before it ended.
    ///
    /// # Errors
    /// One can't be deleted.
    pub fn remove_left(&self) -> io::Result<()> {
        let is_partial = |name: &str| name.strip_suffix(PARTIAL).is_some_and(is_ours);
        let all = self.find(is_partial)?;
        all.iter().try_for_each(|left| NewFile::remove_left(left))
    }

    /// Returns how long ago the newest one was made; nothing if there is none.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn age(&self, now: Timestamp) -> io::Result<Option<Duration>> {
        let Some(newest) = self.all()?.pop() else {
            return Ok(None);
        };
        let made = fs::metadata(newest)?.modified()?;
        let made = Timestamp::try_from(made).map_err(io::Error::other)?;
        let age = now.as_millisecond().saturating_sub(made.as_millisecond());
        Ok(Some(Duration::from_millis(age.max(0).cast_unsigned())))
    }

    /// Deletes the oldest ones, so that `keep` are left.
    ///
    /// # Errors
    /// One can't be deleted.
    pub fn keep(&self, keep: usize) -> io::Result<()> {
        let mut all = self.all()?;
        let kept = all.len().min(keep);
        all.truncate(all.len() - kept);
        all.iter().try_for_each(fs::remove_file)
    }
}

fn is_ours(name: &str) -> bool {
    let time = name
        .strip_prefix(BEGIN)
        .and_then(|name| name.strip_suffix(END));
    let is_of_time = |(at, letter): (usize, char)| match at {
        8 => letter == 'T',
        15 => letter == 'Z',
        _ => letter.is_ascii_digit(),
    };
    time.is_some_and(|time| time.len() == 16 && time.char_indices().all(is_of_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_has_begun_is_deleted_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let series = Series(folder.path());
        let others = ["mine.partial", "circled-2026.backup.partial"].map(|name| {
            let other = folder.path().join(name);
            fs::write(&other, "").unwrap();
            other
        });
        let left = folder
            .path()
            .join("circled-20260102T030405Z.backup.partial");
        fs::write(&left, "cut").unwrap();
        let made = series.name(Timestamp::from_second(1_800_000_000).unwrap());
        fs::write(&made, "").unwrap();
        let written = NewFile::create(&series.name(Timestamp::now())).unwrap();
        series.remove_left().unwrap();
        assert!(!left.exists());
        assert!(made.exists() && others.iter().all(|other| other.exists()));
        written.finish().unwrap();
        assert_eq!(series.all().unwrap().len(), 2);
    }

    #[test]
    fn the_newest_are_kept_and_other_files_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let series = Series(folder.path());
        assert_eq!(series.age(Timestamp::now()).unwrap(), None);
        let others = [
            "circled-20260102T030405Z.backup.partial",
            "circled-2026.backup",
            "circled-20260102T030405Zx.backup",
            "mine.backup",
        ];
        for other in others {
            fs::write(folder.path().join(other), "").unwrap();
        }
        let at = |day: i64| Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap();
        for day in [3, 1, 2, 11, 10] {
            fs::write(series.name(at(day)), "").unwrap();
        }
        let days = |days: &[i64]| {
            days.iter()
                .map(|day| series.name(at(*day)))
                .collect::<Vec<_>>()
        };
        assert_eq!(series.all().unwrap(), days(&[1, 2, 3, 10, 11]));
        series.keep(9).unwrap();
        assert_eq!(series.all().unwrap().len(), 5);
        series.keep(2).unwrap();
        assert_eq!(series.all().unwrap(), days(&[10, 11]));
        assert!(
            others
                .iter()
                .all(|other| folder.path().join(other).exists())
        );
        let hour = Duration::from_secs(3600);
        let age = series
            .age(Timestamp::now().saturating_add(hour).unwrap())
            .unwrap()
            .unwrap();
        assert!(
            age >= hour - Duration::from_secs(1) && age < 2 * hour,
            "{age:?}"
        );
    }
}
