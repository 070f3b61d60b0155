/// A place where one task waits for one value.
///
/// The bridge from events to async/await: a driver keeps the waiter beside the request and resumes
/// it when the device is done. The first of `resume` and the task's cancellation wins; whatever
/// comes later is ignored.
///
/// A waiter is one core's. In a guest, resuming a task of another core traps: that is work for the
/// core's mailbox (rule 1 of the house).
@Core public final class Waiter<Value: Sendable> {
    /// A suspended task, to be resumed once.
    @safe private struct Suspended {
        let continuation: UnsafeContinuation<Value, Never>

        init(_ continuation: UnsafeContinuation<Value, Never>) {
            unsafe self.continuation = continuation
        }
    }

    private enum State {
        case idle
        case waiting(Suspended)
        case resumed(Value)
        case finished
    }

    private var state = State.idle
    #if hasFeature(Embedded)
    /// Whose task waits here.
    private let core = Core.index
    #endif

    /// A waiter that nobody waits at yet.
    public init() {}

    /// Whether a value was given or the wait was cancelled.
    public var isDone: Bool {
        switch state {
        case .idle, .waiting: false
        case .resumed, .finished: true
        }
    }

    /// Waits for the value; if the task is cancelled first, `cancelled` is the value, and nil
    /// waits on. To be called once.
    public func wait(cancelled: Value? = nil) async -> Value {
        await withTaskCancellationHandler {
            // SAFETY: `state` keeps the continuation until the one `resume`.
            unsafe await withUnsafeContinuation { continuation in
                guard case .resumed(let value) = state else {
                    state = unsafe .waiting(Suspended(continuation))
                    return
                }
                state = .finished
                unsafe continuation.resume(returning: value)
            }
        } onCancel: {
            guard let cancelled else { return }
            #if hasFeature(Embedded)
            // A task is cancelled on its own core only (rule 1).
            Core.assumeIsolated { self.resume(cancelled) }
            #else
            // Any thread of a process may cancel a task.
            if HostRunLoop.shared.isCurrent {
                Core.assumeIsolated { self.resume(cancelled) }
            } else {
                Task { @Core in self.resume(cancelled) }
            }
            #endif
        }
    }

    /// Gives the value; the task goes on in a later job. A second value is ignored.
    public func resume(_ value: Value) {
        #if hasFeature(Embedded)
        precondition(core == Core.index, "a task was resumed on another core than its own")
        #endif
        switch state {
        case .idle: state = .resumed(value)
        case .waiting(let task):
            state = .finished
            // SAFETY: the state has just changed, so a continuation is resumed once.
            #if hasFeature(Embedded)
            unsafe task.continuation.resume(returning: value)
            #else
            HostRunLoop.shared.resume { unsafe task.continuation.resume(returning: value) }
            #endif
        case .resumed, .finished: break
        }
    }
}
