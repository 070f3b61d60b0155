import ToroCore

/// The task was cancelled while it waited.
public struct Cancelled: ToroError, Equatable {
    /// Says so.
    public init() {}
    /// What was wrong.
    public var explanation: String { "the task was cancelled" }
}

/// Waits until `deadline` on the core's clock, or on `clock`. Throws at once when the task is
/// cancelled.
@Core public func sleep(
    until deadline: Instant, clock: any Timekeeper = Core.clock
) async throws(Cancelled) {
    let waiter = Waiter<Bool>()
    let timer = clock.schedule(at: deadline) { waiter.resume(true) }
    guard await waiter.wait(cancelled: false) else {
        clock.cancel(timer)
        throw Cancelled()
    }
}

/// Waits for `span`, at least. Throws at once when the task is cancelled.
@Core public func sleep(
    for span: TimeSpan, clock: any Timekeeper = Core.clock
) async throws(Cancelled) {
    try await sleep(until: clock.now + span, clock: clock)
}

/// How an operation with a deadline failed.
public enum TimeoutError<Failure: ToroError>: ToroError {
    /// The time was up; the operation was cancelled and has ended.
    case timedOut
    /// The operation failed in time.
    case failed(Failure)

    /// What was wrong and what to do.
    public var explanation: String {
        switch self {
        case .timedOut: "the operation took too long and was cancelled"
        case .failed(let error): error.explanation
        }
    }
}

/// Runs `body` in a task of its own that is cancelled at `deadline`, and waits for its end.
///
/// A value that `body` returns all the same is returned. Cancelling the caller cancels `body`.
@Core public func withDeadline<Value: Sendable, Failure: ToroError>(
    _ deadline: Instant, clock: any Timekeeper = Core.clock,
    _ body: @escaping @Core () async throws(Failure) -> Value
) async throws(TimeoutError<Failure>) -> Value {
    let state = DeadlineState()
    let task = Task { await outcome(of: body) }
    let timer = clock.schedule(at: deadline) {
        state.isOver = true
        task.cancel()
    }
    let ended = await withTaskCancellationHandler {
        await task.value
    } onCancel: {
        task.cancel()
    }
    clock.cancel(timer)
    switch ended {
    case .success(let value): return value
    case .failure(let error):
        if state.isOver { throw .timedOut }
        throw .failed(error)
    }
}

/// Runs `body` for `span` at most; see ``withDeadline(_:clock:_:)``.
@Core public func withTimeout<Value: Sendable, Failure: ToroError>(
    _ span: TimeSpan, clock: any Timekeeper = Core.clock,
    _ body: @escaping @Core () async throws(Failure) -> Value
) async throws(TimeoutError<Failure>) -> Value {
    try await withDeadline(clock.now + span, clock: clock, body)
}

@Core private final class DeadlineState {
    var isOver = false
}

@Core private func outcome<Value: Sendable, Failure: ToroError>(
    of body: @Core () async throws(Failure) -> Value
) async -> Result<Value, Failure> {
    do throws(Failure) {
        return .success(try await body())
    } catch {
        return .failure(error)
    }
}
