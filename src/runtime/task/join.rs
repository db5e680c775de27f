//! Starting tasks and waiting for their results.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::super::reactor::Runtime;
use super::{Class, TaskId};

/// ```text
/// Running -> Done -> Taken     the task completed; the handle took its value
/// Running -> Gone              the task was aborted, or dropped with its runtime
/// ```
enum TaskResult<T> {
    Running,
    Done(T),
    Taken,
    Gone,
}

struct Join<T> {
    result: Cell<TaskResult<T>>,
    waker: Cell<Option<Waker>>,
}

impl<T> Join<T> {
    /// Ends the task with `result` and wakes the task that waits for it.
    fn finish(&self, result: TaskResult<T>) {
        assert!(matches!(result, TaskResult::Done(_) | TaskResult::Gone), "a task ends with a value or without one");
        let earlier = self.result.replace(result);
        assert!(matches!(earlier, TaskResult::Running), "a task ends once");
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn is_finished(&self) -> bool {
        let result = self.result.replace(TaskResult::Gone);
        let is_finished = !matches!(result, TaskResult::Running);
        self.result.set(result);
        is_finished
    }
}

/// A future of a task's result. The task continues when the handle is dropped.
pub struct JoinHandle<T> {
    join: Rc<Join<T>>,
    id: TaskId,
    runtime: u16,
}

/// Starts a task on this shard. The stall detector and the watchdog log its `name`.
pub fn spawn<T: 'static>(class: Class, name: &'static str, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    /// Finishes a task whose future is dropped before it completes.
    struct FinishOnDrop<T>(Rc<Join<T>>);
    impl<T> Drop for FinishOnDrop<T> {
        fn drop(&mut self) {
            if !self.0.is_finished() {
                self.0.finish(TaskResult::Gone);
            }
        }
    }

    let join = Rc::new(Join { result: Cell::new(TaskResult::Running), waker: Cell::new(None) });
    let guard = FinishOnDrop(join.clone());
    let body = async move {
        let value = future.await;
        guard.0.finish(TaskResult::Done(value));
    };
    Runtime::with(|rt| {
        let id = rt.tasks.insert(class, name, Some(Box::pin(body)));
        JoinHandle { join, id, runtime: rt.id }
    })
}

impl<T> JoinHandle<T> {
    /// Drops the task's future now, or at the end of its current poll.
    pub fn abort(&self) {
        let body = Runtime::try_with(|rt| if rt.id == self.runtime { rt.tasks.remove(self.id) } else { None });
        drop(body);
    }

    /// Whether the task has ended: awaiting the handle does not wait.
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    /// # Panics
    /// If the task was aborted: it has no result.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.join.result.replace(TaskResult::Taken) {
            TaskResult::Done(value) => Poll::Ready(value),
            TaskResult::Running => {
                self.join.result.set(TaskResult::Running);
                self.join.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            TaskResult::Gone => panic!("the awaited task was aborted"),
            TaskResult::Taken => panic!("a task's result is taken once"),
        }
    }
}

/// Returns to the executor once: other ready tasks of the class, and other classes that are due, run first.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
