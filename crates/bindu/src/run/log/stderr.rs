//! Standard error, without the lock and the buffer of std's: whoever holds that lock while nobody reads would hold up
//! everybody who wants to write there.

use super::queue::{Sink, TICK};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
};

/// A descriptor of its own for what stderr was when it was opened.
pub(super) struct Stderr(File);

impl Stderr {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(File::from(io::stderr().as_fd().try_clone_to_owned()?)))
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Stderr {
    fn wait(&mut self) {
        let timeout = Timespec::try_from(TICK).ok();
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], timeout.as_ref());
    }
}
