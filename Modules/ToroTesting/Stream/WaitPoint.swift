import ToroCore

/// A place where one task waits until something has changed.
@Core final class WaitPoint {
    private var waiter: Waiter<Bool>?

    /// Suspends the task until `wake` is called or the task is cancelled.
    func wait() async {
        precondition(waiter?.isDone ?? true, "two tasks wait at one point")
        let waiter = Waiter<Bool>()
        self.waiter = waiter
        _ = await waiter.wait(cancelled: false)
    }

    /// Lets the waiting task go on, if there is one.
    func wake() {
        waiter?.resume(true)
        waiter = nil
    }
}
