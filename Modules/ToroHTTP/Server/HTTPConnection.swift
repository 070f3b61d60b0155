import ToroCore

/// One connection: requests in, responses out, in order.
///
///     idle ──first byte──▶ head ──complete──▶ handler ⇄ body ──▶ response ──▶ idle or closing
///
/// Bytes behind a request's end stay in `input` for the next one (pipelining).
@Core final class HTTPConnection {
    let stream: any ByteStream
    let service: HTTPService
    /// The task that serves it.
    var task: Task<Void, Never>?
    let timer: HTTPDeadline
    /// Its place among the service's connections.
    var previous: HTTPConnection?
    var next: HTTPConnection?
    /// Whether it waits for a request's head, and whether it makes room for another connection:
    /// the service's.
    var isResting = false
    var isLeaving = false
    /// The memory that it may take, in bytes, and where its request waits for some, until when: the
    /// service's.
    var claim = 0
    var turn: Waiter<Bool>?
    var turnEnd = Instant(nanoseconds: 0)

    // Receiving
    /// Bytes received and not used yet.
    var input: IOBuffer?
    /// The head of the request to come, as far as it is here.
    var parser: HTTPRequestParser
    var gathered: IOBuffer?
    /// The length of the head that is answered now, 0 before it is known.
    var headLength = 0
    /// The request before, if its handler left a part of the body; read up to `discardEnd` of it
    /// and thrown away.
    var unread: HTTPRequest?
    var discardEnd: UInt64 = 0

    // Sending
    /// Whether the head of the response under way, or a part of it, has gone out.
    var responseStarted = false
    /// Whether the response under way says what went wrong.
    var isExplaining = false
    /// Whether there is another request after the response under way.
    var goesOn = false

    // Ending
    /// Whether nothing but the request line's beginning is awaited.
    var isIdle = false
    /// Whether the connection can be closed without loss: nobody waits for an answer, or for the
    /// rest of one.
    var isBetweenRequests: Bool { isIdle || unread != nil }
    /// Whether the connection ends however its exchange goes: a deadline has passed, or it makes
    /// room for another.
    var isOver = false
    /// Resumed when 408 has been answered, while this connection's own task waits for bytes.
    var lateAnswer: Waiter<Bool>?

    init(_ stream: any ByteStream, _ service: HTTPService) {
        self.stream = stream
        self.service = service
        parser = HTTPRequestParser(service.limits)
        timer = HTTPDeadline(service.clock, service.limits)
        timer.connection = self
    }

    // What waits is async and short, and what computes is not: code behind an await is compiled
    // once for each way to it.

    /// Serves requests until either side has had enough; then closes the connection in order.
    func run() async {
        while let request = await nextRequest() {
            guard await exchange(request) else { break }
        }
        if let lateAnswer, !Task.isCancelled { _ = await lateAnswer.wait(cancelled: false) }
        timer.stop()
        stream.close()
    }

    /// Has the handler answer `request` and sends the response; whether the connection goes on.
    private func exchange(_ request: HTTPRequest) async -> Bool {
        var response: HTTPResponse?
        do throws(HTTPError) {
            response = try await service.respond(request)
        } catch {
            response = explanation(of: error, for: request)
        }
        while let next = response { response = await send(next, to: request) }
        return end(request)
    }

    /// Takes leave of a request; whether the connection goes on.
    private func end(_ request: HTTPRequest) -> Bool {
        request.connection = nil
        guard goesOn, !request.bodyState.hasEnded else { return goesOn }
        unread = request
        discardEnd = request.bodyState.received + UInt64(service.limits.discardedBytes)
        return !request.bodyState.owesContinue
    }
}
