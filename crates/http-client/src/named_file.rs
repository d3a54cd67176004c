//! Files that settings name: configuration, certificates, tokens, passwords. Whoever names one may be wrong: the file may
//! have no end (`/dev/zero`), or be a pipe that nobody writes to. So each is read within bounds of size and time.
//!
//! A pipe that somebody does write to is welcome: `--config <(...)` is one.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

/// The largest file that is read, in bytes: ten times the bundle of all public authorities.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// How long a pipe may take.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// How often it is looked whether a pipe has a writer.
const POLL: Duration = Duration::from_millis(10);

const READ_AT_ONCE: usize = 64 * 1024;

/// Reads a file.
///
/// # Errors
/// Where it can't be read; if it is larger than 4 MiB, or a pipe from which nothing comes for five seconds.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let is_pipe = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::Fifo;
    let until = Instant::now() + MAX_WAIT;
    let (mut content, mut buffer) = (Vec::new(), vec![0; READ_AT_ONCE]);
    loop {
        match rustix::io::read(&file, &mut *buffer) {
            // A pipe without a writer, so far.
            Ok(0) if is_pipe && content.is_empty() => {
                in_time(until)?;
                std::thread::sleep(POLL);
            }
            Ok(0) => return Ok(content),
            Ok(length) => content.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(Errno::AGAIN) => wait(&file, in_time(until)?)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if content.len() > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 4 MiB, or no end"));
        }
    }
}

/// Whether a file can be opened; nothing of it is read.
///
/// # Errors
/// Why not.
pub fn check(path: &Path) -> io::Result<()> {
    open(path).map(drop)
}

/// Opens it without waiting for anybody who would write to it.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn in_time(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it is a pipe, and nobody has written to it for 5 s",
        ));
    }
    Ok(left)
}

fn wait(file: &OwnedFd, longest: Duration) -> io::Result<()> {
    let longest = Timespec::try_from(longest).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&longest)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write as _};

    #[test]
    fn a_file_is_read_whole_and_one_without_an_end_is_not() {
        let disk = tempfile::tempdir().expect("a directory");
        let path = disk.path().join("file");
        for size in [0, 1, READ_AT_ONCE + 1, MAX_BYTES] {
            fs::write(&path, vec![b'x'; size]).expect("writes");
            assert_eq!(read(&path).expect("reads").len(), size);
        }
        fs::write(&path, vec![b'x'; MAX_BYTES + 1]).expect("writes");
        for endless in [path.as_path(), Path::new("/dev/zero")] {
            assert_eq!(read(endless).expect_err("too long").kind(), io::ErrorKind::FileTooLarge);
        }
        assert_eq!(read(disk.path()).expect_err("a directory").kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read(&disk.path().join("none")).expect_err("none").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_pipe_is_waited_for_and_not_for_ever() {
        let disk = tempfile::tempdir().expect("a directory");
        let path = disk.path().join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).expect("a pipe");
        check(&path).expect("it is there");
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut pipe = fs::File::options().write(true).open(path).expect("a reader comes");
                for piece in ["half ", "and half"] {
                    pipe.write_all(piece.as_bytes()).expect("it is read");
                    std::thread::sleep(POLL * 3);
                }
            }
        });
        assert_eq!(read(&path).expect("reads"), b"half and half");
        writer.join().expect("no panic");
        assert_eq!(read(&path).expect_err("nobody writes").kind(), io::ErrorKind::TimedOut);
    }
}
