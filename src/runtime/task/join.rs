//! Starting tasks and waiting for their results.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::super::reactor::Runtime;
use super::{Class, TaskId};

enum Value<T> {
    Running,
    Done(T),
    Taken,
    /// Aborted, or dropped with its runtime.
    Gone,
}

struct State<T> {
    value: Cell<Value<T>>,
    waker: Cell<Option<Waker>>,
}

impl<T> State<T> {
    fn settle(&self, value: Value<T>) {
        self.value.set(value);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A task's result. Dropping the handle lets the task run on.
pub struct JoinHandle<T> {
    state: Rc<State<T>>,
    id: TaskId,
    runtime: u16,
}

/// Starts a task on this shard. `name` is what the stall detector will call it.
pub fn spawn<T: 'static>(class: Class, name: &'static str, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    struct Settle<T>(Rc<State<T>>);
    impl<T> Drop for Settle<T> {
        fn drop(&mut self) {
            match self.0.value.replace(Value::Gone) {
                Value::Running => self.0.settle(Value::Gone),
                settled => self.0.value.set(settled),
            }
        }
    }

    let state = Rc::new(State { value: Cell::new(Value::Running), waker: Cell::new(None) });
    let settle = Settle(state.clone());
    let body = async move {
        let value = future.await;
        settle.0.settle(Value::Done(value));
    };
    Runtime::with(|rt| {
        let id = rt.tasks.insert(class, name, Some(Box::pin(body)));
        JoinHandle { state, id, runtime: rt.id }
    })
}

impl<T> JoinHandle<T> {
    /// Drops the task's future, now, or after the poll it is in.
    pub fn abort(&self) {
        let body = Runtime::try_with(|rt| if rt.id == self.runtime { rt.tasks.remove(self.id) } else { None });
        drop(body);
    }

    /// Whether awaiting the handle would not wait.
    pub fn is_finished(&self) -> bool {
        let value = self.state.value.replace(Value::Gone);
        let finished = !matches!(value, Value::Running);
        self.state.value.set(value);
        finished
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    /// # Panics
    /// When the task was aborted: it has no result.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.state.value.replace(Value::Taken) {
            Value::Done(value) => Poll::Ready(value),
            Value::Running => {
                self.state.value.set(Value::Running);
                self.state.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            Value::Gone => panic!("the awaited task was aborted"),
            Value::Taken => panic!("a task's result is taken once"),
        }
    }
}

/// Lets the other ready tasks of the class, and the classes whose turn it is, go first.
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
