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
    /// Bytes received and not used yet.
    private var input: IOBuffer?
    /// The head of the request to come, as far as it is here.
    private var parser: HTTPRequestParser
    private var gathered: IOBuffer?
    /// The request before, if its handler left a part of the body; read up to `discardEnd` of it
    /// and thrown away.
    private var unread: HTTPRequest?
    private var discardEnd: UInt64 = 0
    /// Whether the head of the response under way, or a part of it, has gone out.
    private var responseStarted = false
    /// Whether the response under way says what went wrong.
    private var isExplaining = false
    /// Whether there is another request after the response under way.
    private var goesOn = false
    /// Whether nothing but the request line's beginning is awaited, so that the connection can be
    /// closed without loss.
    private(set) var isIdle = false
    let timer: HTTPDeadline
    /// Resumed when 408 has been answered, while this connection's own task waits for bytes.
    private var lateAnswer: Waiter<Bool>?

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
        await drain()
        if let lateAnswer, !Task.isCancelled { _ = await lateAnswer.wait(cancelled: false) }
        timer.stop()
        stream.close()
    }

    // MARK: Receiving

    /// Puts the next bytes into `input` if there are none; false at the end of the stream, and
    /// after a failure or a time-out.
    private func fill() async -> Bool {
        if input != nil { return true }
        do throws(StreamError) {
            input = try await stream.receive()
            return input != nil && !timer.hasExpired
        } catch {
            return false
        }
    }

    /// What the bytes received come to.
    private enum Step {
        case incomplete
        case request(HTTPRequest)
        case refused(HTTPStatus)
        /// There is nothing to answer any more.
        case end
    }

    /// The next request; nil at the end. What is no request gets an answer, and is the last one.
    private func nextRequest() async -> HTTPRequest? {
        var step = begin()
        while case .incomplete = step {
            guard await fill() else { return nil }
            step = advance()
        }
        switch step {
        case .request(let request): return request
        case .refused(let status): await sendLast(status)
        case .incomplete, .end: break
        }
        return nil
    }

    /// Begins to wait for a request, or for the rest of the one before.
    private func begin() -> Step {
        if service.isStopping { return .end }
        if unread != nil {
            timer.set(.body)
            return .incomplete
        }
        parser = HTTPRequestParser(service.limits)
        gathered = nil
        responseStarted = false
        isExplaining = false
        isIdle = input == nil
        timer.set(.idle)
        return .incomplete
    }

    /// Uses bytes that were received.
    private func advance() -> Step {
        if let unread { return discard(unread) }
        guard let received = input.take() else { return .end }
        isIdle = false
        switch parse(received) {
        case .refused(let status): return .refused(status)
        case .incomplete:
            if gathered == nil { return .refused(.serviceUnavailable) }
            timer.begin(.head)
            return .incomplete
        case .complete(let head):
            timer.clear()
            guard let bytes = gathered.take() else { return .refused(.serviceUnavailable) }
            return accept(head, bytes)
        }
    }

    /// Throws away bytes of a body that its handler did not want.
    private func discard(_ request: HTTPRequest) -> Step {
        do throws(HTTPError) { _ = try takeBody(of: request) } catch { return .end }
        if request.bodyState.received > discardEnd { return .end }
        if request.bodyState.hasEnded { unread = nil }
        return begin()
    }

    /// Has the parser look at `received`, in place if the head began in it. A head, or a part of
    /// one, is copied to `gathered`: the driver needs its buffers more than we need the copy
    /// spared. What follows the head goes back to `input`.
    private func parse(_ received: consuming IOBuffer) -> HTTPRequestParser.Outcome {
        guard var collected = gathered.take() else {
            let outcome = parser.parse(received.bytes)
            var length = received.count
            var room = length
            switch outcome {
            case .incomplete: room = min(max(2 * length, 512), service.limits.headBytes)
            case .complete(let head): (length, room) = (head.length, head.length)
            case .refused: break
            }
            gathered = try? IOBuffer(capacity: room)
            gathered?.append(received.bytes.extracting(0..<length))
            keep(received, after: length)
            return outcome
        }
        let before = collected.count
        if collected.freeCapacity < received.count {
            // Without memory `gathered` stays empty, which ends the connection with 503.
            guard let larger = grown(collected, for: received.count) else { return .incomplete }
            collected = larger
        }
        let added = collected.append(received.bytes)
        let outcome = parser.parse(collected.bytes)
        var used = added
        if case .complete(let head) = outcome {
            used = head.length - before
            collected.truncate(to: head.length)
        }
        gathered = consume collected
        keep(received, after: used)
        return outcome
    }

    /// The bytes of a head so far, with room for `count` more: for twice as many, so that a head is
    /// copied a few times at most however small the portions are, and never for more than a head
    /// may have.
    private func grown(_ head: borrowing IOBuffer, for count: Int) -> IOBuffer? {
        let room = min(max(2 * head.capacity, head.count + count), service.limits.headBytes)
        guard var larger = try? IOBuffer(capacity: room) else { return nil }
        larger.append(head.bytes)
        return larger
    }

    /// Keeps what follows the first `used` bytes of `received` for later.
    private func keep(_ received: consuming IOBuffer, after used: Int) {
        received.removeFirst(used)
        if !received.isEmpty { input = consume received }
    }

    /// The request with this head.
    private func accept(_ head: HTTPRequestHead, _ bytes: consuming IOBuffer) -> Step {
        guard let path = HTTPPath.decode(bytes.bytes, head.path) else {
            return .refused(.badRequest)
        }
        if case .length(let length) = head.framing, length > service.limits.bodyBytes {
            return .refused(.contentTooLarge)
        }
        return .request(HTTPRequest(head, bytes, path: path, connection: self))
    }

    /// The next bytes of the request's body; nil at its end.
    func nextBytes(of request: HTTPRequest) async throws(HTTPError) -> IOBuffer? {
        if let line = try continueLine(for: request) { _ = try await transmit(nil, line) }
        while !request.bodyState.hasEnded {
            timer.set(.body)
            guard await fill() else { throw timer.hasExpired ? .timedOut : .disconnected }
            if let data = try takeBody(of: request) { return data }
        }
        return nil
    }

    /// What the client waits for before it sends the body, once.
    private func continueLine(for request: HTTPRequest) throws(HTTPError) -> IOBuffer? {
        guard request.bodyState.owesContinue, !request.bodyState.hasEnded, !responseStarted
        else { return nil }
        request.bodyState.owesContinue = false
        let line = ByteWriter(capacity: 32)
        line.append("HTTP/1.1 100 Continue\r\n\r\n")
        guard let line = line.take() else { throw .outOfMemory }
        return line
    }

    /// The body's next bytes if there are any in `input`; what follows them stays there.
    private func takeBody(of request: HTTPRequest) throws(HTTPError) -> IOBuffer? {
        timer.clear()
        guard var received = input.take() else { return nil }
        let count: Int
        switch request.bodyState.rest {
        case .none: count = 0
        case .length(let length):
            count = Int(min(length, UInt64(received.count)))
            let rest = length - UInt64(count)
            request.bodyState.rest = rest == 0 ? .none : .length(rest)
        case .chunked(var decoder):
            let step = decoder.next(received.bytes)
            request.bodyState.rest = .chunked(decoder)
            switch step {
            case .malformed: throw .malformedBody
            case .incomplete: return nil
            case .end(let consumed):
                request.bodyState.rest = .none
                keep(received, after: consumed)
                return nil
            case .data(let range):
                received.removeFirst(range.lowerBound)
                count = range.count
            }
        }
        request.bodyState.received += UInt64(count)
        guard request.bodyState.received <= service.limits.bodyBytes else { throw .bodyTooLarge }
        if count == received.count { return received }
        guard var part = try? IOBuffer(capacity: count) else { throw .outOfMemory }
        part.append(received.bytes.extracting(0..<count))
        keep(received, after: count)
        return part
    }

    // MARK: Sending

    /// Sends both buffers of a response within the time limit; gives `body` back.
    func send(
        _ head: consuming IOBuffer?, _ body: consuming IOBuffer
    ) async throws(HTTPError) -> IOBuffer {
        responseStarted = true
        return try await transmit(head, body)
    }

    private func transmit(
        _ head: consuming IOBuffer?, _ body: consuming IOBuffer
    ) async throws(HTTPError) -> IOBuffer {
        guard !timer.hasExpired else { throw .timedOut }
        timer.set(.send)
        return try transmitted(await stream.send(head, body))
    }

    private func transmitted(
        _ done: consuming Completed<StreamError>
    ) throws(HTTPError) -> IOBuffer {
        timer.clear()
        if case .failure = done.result { throw timer.hasExpired ? .timedOut : .disconnected }
        return done.take()
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

    /// Sends a response; what to send instead if that fails and it is not too late.
    private func send(_ response: HTTPResponse, to request: HTTPRequest) async -> HTTPResponse? {
        do throws(HTTPError) {
            let writer = try begin(response, to: request)
            switch response.takeBody() {
            case .none: break
            case .buffer(let buffer): _ = try await writer.write(buffer)
            case .produced(_, let produce): try await produce(writer)
            }
            try await writer.end()
            return nil
        } catch {
            return explanation(of: error, for: request)
        }
    }

    /// The response to a request that could not be answered, if there can be one.
    private func explanation(of error: HTTPError, for request: HTTPRequest) -> HTTPResponse? {
        guard !isExplaining, !responseStarted, !timer.hasExpired, let status = error.status else {
            // Too late for another answer: the peer must see that this one is not whole.
            if lateAnswer == nil { stream.abort() }
            goesOn = false
            return nil
        }
        isExplaining = true
        let response = HTTPResponse.explained(status)
        response.closes = !request.bodyState.hasEnded
        return response
    }

    /// Decides how `response` is sent; its body is dropped if it must not be.
    private func begin(
        _ response: HTTPResponse, to request: HTTPRequest
    ) throws(HTTPError) -> HTTPBodyWriter {
        let plan = HTTPResponsePlan(
            response,
            keepsAlive: request.head.keepsAlive && !service.isStopping
                && !mustClose(request, response), old: request.head.minorVersion == 0)
        goesOn = plan.goesOn
        guard let head = response.finishHead(plan, wallTime: service.clock.wallTime) else {
            throw .outOfMemory
        }
        let writer = HTTPBodyWriter(self, head: head, plan.framing)
        if request.method == .head || response.status.hasNoBody {
            response.body = .none
            writer.omitBody()
        }
        return writer
    }

    /// Takes leave of a request; whether the connection goes on.
    private func end(_ request: HTTPRequest) -> Bool {
        request.connection = nil
        guard goesOn, !request.bodyState.hasEnded else { return goesOn }
        unread = request
        discardEnd = request.bodyState.received + UInt64(service.limits.discardedBytes)
        return !request.bodyState.owesContinue
    }

    /// Whether the rest of the request's body is too much to read, or may never come.
    private func mustClose(_ request: HTTPRequest, _ response: HTTPResponse) -> Bool {
        if response.closes { return true }
        switch response.body {
        case .produced: if response.readsRequest { return false }
        default: break
        }
        if request.bodyState.hasEnded { return false }
        if request.bodyState.owesContinue { return true }
        if case .length(let rest) = request.bodyState.rest {
            return rest > UInt64(service.limits.discardedBytes)
        }
        return false
    }

    /// Answers with a status that is a text too, and says that no answer follows.
    private func sendLast(_ status: HTTPStatus) async {
        let response = HTTPResponse.explained(status)
        let plan = HTTPResponsePlan(response, keepsAlive: false, old: false)
        guard let head = response.finishHead(plan, wallTime: service.clock.wallTime),
            case .buffer(let body) = response.takeBody()
        else { return }
        responseStarted = true
        timer.set(.send)
        if parser.isHead {
            _ = await stream.send(head)
        } else {
            _ = await stream.send(head, body)
        }
        timer.clear()
    }

    /// Finishes sending, then reads and throws away a bounded amount: if the connection were
    /// closed with bytes unread, the peer's system could throw away our last response.
    private func drain() async {
        if timer.hasExpired { return }
        timer.set(.close)
        do throws(StreamError) { try await stream.finish() } catch { return }
        var allowance = service.limits.discardedBytes
        input = nil
        while allowance > 0, await fill() { allowance -= input.take()?.count ?? 0 }
    }

    // MARK: Time

    /// Called when a deadline has passed: ends what waits.
    func expire(_ phase: HTTPDeadline.Phase) {
        let answers = (phase == .head || phase == .body) && !responseStarted
        guard answers else {
            if phase == .idle { stream.close() } else { stream.abort() }
            return
        }
        // Our own task is in `receive`, and only a closed stream ends that: answer beside it.
        let isDone = Waiter<Bool>()
        lateAnswer = isDone
        Core.spawn { await self.answerLate(isDone) }
    }

    private func answerLate(_ isDone: Waiter<Bool>) async {
        await sendLast(.requestTimeout)
        timer.set(.close)
        do throws(StreamError) { try await stream.finish() } catch {}
        timer.clear()
        stream.close()
        isDone.resume(true)
    }
}
