import ToroCore

/// A place where one task waits until something has changed.
@Core @safe final class WaitPoint {
    // SAFETY: `wake` empties the field before it resumes, so the task is resumed once.
    private var continuation: UnsafeContinuation<Void, Never>?

    /// Whether a task waits here.
    var isOccupied: Bool { unsafe continuation != nil }

    /// Suspends the task until `wake` is called or the task is cancelled.
    func wait() async {
        await withTaskCancellationHandler {
            await unsafe withUnsafeContinuation { continuation in
                unsafe precondition(self.continuation == nil, "two tasks wait at one point")
                if Task.isCancelled {
                    unsafe continuation.resume()
                } else {
                    unsafe self.continuation = continuation
                }
            }
        } onCancel: {
            Core.assumeIsolated { self.wake() }
        }
    }

    /// Lets the waiting task go on, if there is one.
    func wake() {
        let waiting = unsafe continuation
        unsafe continuation = nil
        unsafe waiting?.resume()
    }
}
