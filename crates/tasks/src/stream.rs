//! A task's stream: the tail of its log, pulled by its reader.

use bindu_a2a::call::StreamItem;
use futures_util::{Stream, stream::BoxStream};
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// A task's events, from the task itself to its end. It pulls from the store: a reader that stalls costs its place, and
/// no buffer. Dropped, it leaves the task as it is.
pub struct TaskStream(pub(crate) BoxStream<'static, StreamItem>);

impl Stream for TaskStream {
    type Item = StreamItem;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<StreamItem>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for TaskStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskStream")
    }
}
