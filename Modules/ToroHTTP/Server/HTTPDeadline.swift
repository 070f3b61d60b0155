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
    private let limits: HTTPLimits
    private var phase = Phase.idle
    private var deadline = Instant.distantFuture
    /// When the request must be here, all of it.
    private var requestEnd = Instant.distantFuture
    private var pending: (id: TimerID, at: Instant)?
    /// Who is told; empty after `stop`.
    var connection: HTTPConnection?
    /// Whether a deadline has passed: the connection is over.
    private(set) var hasExpired = false

    init(_ clock: any Timekeeper, _ limits: HTTPLimits) {
        self.clock = clock
        self.limits = limits
    }

    /// Lets the phase's limit pass from now on until the connection is told.
    func set(_ phase: Phase) {
        self.phase = phase
        deadline = clock.now + limits.time(of: phase)
        switch phase {
        case .idle: requestEnd = .distantFuture
        case .head, .body:
            if requestEnd == .distantFuture { requestEnd = clock.now + limits.requestTime }
            deadline = min(deadline, requestEnd)
        case .send, .close: break
        }
        if let pending {
            if pending.at <= deadline { return }
            clock.cancel(pending.id)
        }
        schedule()
    }

    /// As `set`, but if that phase has begun already its deadline stays.
    func begin(_ phase: Phase) {
        if self.phase == phase, deadline < .distantFuture { return }
        set(phase)
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

extension HTTPLimits {
    /// How long a phase may last.
    fileprivate func time(of phase: HTTPDeadline.Phase) -> TimeSpan {
        switch phase {
        case .idle: idleTime
        case .head: headTime
        case .body: bodyTime
        case .send: sendTime
        case .close: closeTime
        }
    }
}
