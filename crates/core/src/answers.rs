//! The way that answers take from the application back to the client: from any thread, to the next `do_work`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use bytes::Bytes;

use crate::transport::{Capabilities, Delivery, Disposition, Op};

/// An answer on its way to the transport.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) delivery: Delivery,
    pub(crate) what: AnswerKind,
}

/// What is answered, and what the application hears if it came too late.
#[derive(Debug)]
pub(crate) enum AnswerKind {
    Settlement { disposition: Disposition, message_id: Option<String> },
    MethodResponse { name: String, status: i32, body: Bytes },
}

impl Answer {
    pub(crate) fn op(&self) -> Op<'_> {
        match &self.what {
            AnswerKind::Settlement { disposition, .. } => {
                Op::Settle { delivery: self.delivery, disposition: *disposition }
            }
            AnswerKind::MethodResponse { status, body, .. } => {
                Op::MethodResponse { delivery: self.delivery, status: *status, body }
            }
        }
    }
}

/// Where answers wait for the next `do_work`; shared by the client and everything that it handed out.
pub(crate) struct Answers {
    waiting: Mutex<Vec<Answer>>,
    waker: Waker,
    /// Direct methods that the application has and has not answered.
    open_methods: AtomicUsize,
    pub(crate) transport: &'static str,
    pub(crate) dispositions: &'static [Disposition],
}

impl Answers {
    pub(crate) fn new(waker: Waker, capabilities: &Capabilities) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            waker,
            open_methods: AtomicUsize::new(0),
            transport: capabilities.name,
            dispositions: capabilities.dispositions,
        })
    }

    pub(crate) fn push(&self, answer: Answer) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        self.waker.wake_by_ref();
    }

    /// Moves the answers so far to the end of `out`.
    pub(crate) fn take(&self, out: &mut impl Extend<Answer>) {
        out.extend(self.waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..));
    }

    pub(crate) fn method_opened(&self) {
        self.open_methods.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn method_answered(&self) {
        self.open_methods.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn open_methods(&self) -> usize {
        self.open_methods.load(Ordering::Relaxed)
    }
}
