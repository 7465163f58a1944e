//! Reads files named on the command line or in the settings. Reading always has a bound, because a file may have no
//! end.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The most bytes of a file with a secret or a key: all are far shorter.
pub(crate) const SECRET: usize = 64 << 10;

/// Reads a text file.
///
/// # Errors
/// It can't be read, isn't UTF-8, or has more bytes than `most`.
pub(crate) fn read_text(path: &Path, most: usize) -> io::Result<String> {
    text_of(File::open(path)?, most)
}

/// Reads a file.
///
/// # Errors
/// It can't be read, or has more bytes than `most`.
pub(crate) fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    bytes_of(File::open(path)?, most)
}

/// Reads a text to its end.
///
/// # Errors
/// It can't be read, isn't UTF-8, or has more bytes than `most`.
pub(crate) fn text_of(from: impl Read, most: usize) -> io::Result<String> {
    String::from_utf8(bytes_of(from, most)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Reads bytes to their end.
///
/// # Errors
/// They can't be read, or there are more of them than `most`.
pub(crate) fn bytes_of(from: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let with_one_more = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    from.take(with_one_more).read_to_end(&mut bytes)?;
    if bytes.len() <= most {
        Ok(bytes)
    } else {
        let message = format!("it is larger than {most} bytes");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn endless_files_are_read_up_to_a_bound() {
        for most in [0, 1, 70_000] {
            let error = read(Path::new("/dev/zero"), most).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FileTooLarge);
            assert_eq!(error.to_string(), format!("it is larger than {most} bytes"));
        }
    }

    #[test]
    fn as_much_as_the_bound_is_read() {
        let text = "\u{e4}".repeat(50);
        assert_eq!(text_of(text.as_bytes(), 100).unwrap(), text);
        // A letter that is cut by the bound is not reported as invalid text.
        let error = text_of(text.as_bytes(), 99).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        let error = text_of(&[0xff][..], 100).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
