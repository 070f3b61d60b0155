import ToroCore

/// The one timer of a connection.
///
/// Most deadlines never pass and each buffer has a new one, so setting one is an assignment: the
/// timer is moved only if it would fire too late, and goes on when it fires too early.
@Core final class HTTPDeadline {
    /// What the connection waits for.
    enum Phase {
        /// The first byte of a request.
        case idle
        /// The rest of a request's head.
        case head
        /// Bytes of a request's body.
        case body
        /// The peer's taking of our bytes.
        case send
        /// The peer's end of the stream.
        case close
    }

    private let clock: any Timekeeper
    private var phase = Phase.idle
    private var deadline = Instant.distantFuture
    private var pending: (id: TimerID, at: Instant)?
    /// Who is told; empty after `stop`.
    var connection: HTTPConnection?
    /// Whether a deadline has passed: the connection is over.
    private(set) var hasExpired = false

    init(_ clock: any Timekeeper) { self.clock = clock }

    /// Lets `span` pass from now on until the connection is told.
    func set(_ phase: Phase, _ span: TimeSpan) {
        self.phase = phase
        deadline = clock.now + span
        if let pending {
            if pending.at <= deadline { return }
            clock.cancel(pending.id)
        }
        schedule()
    }

    /// As `set`, but if that phase has begun already its deadline stays.
    func begin(_ phase: Phase, _ span: TimeSpan) {
        if self.phase == phase, deadline < .distantFuture { return }
        set(phase, span)
    }

    /// Nothing is waited for.
    func clear() { deadline = .distantFuture }

    /// Takes the timer back for good.
    func stop() {
        deadline = .distantFuture
        connection = nil
        if let pending { clock.cancel(pending.id) }
        pending = nil
    }

    private func schedule() {
        let id = clock.schedule(at: deadline) { self.fire() }
        pending = (id, deadline)
    }

    private func fire() {
        pending = nil
        if deadline == .distantFuture { return }
        if clock.now < deadline {
            schedule()
            return
        }
        deadline = .distantFuture
        hasExpired = true
        connection?.expire(phase)
    }
}
