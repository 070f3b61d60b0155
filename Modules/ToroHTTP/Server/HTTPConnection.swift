import ToroCore

/// One connection: requests in, responses out, in order.
///
///     idle ──first byte──▶ head ──complete──▶ handler ⇄ body ──▶ response ──▶ idle or closing
///
/// Bytes behind a request's end stay in `input` for the next one (pipelining).
@Core final class HTTPConnection {
    let stream: any ByteStream
    let service: HTTPService
    /// Bytes received and not used yet.
    private var input: IOBuffer?
    /// Whether the head of the response under way, or a part of it, has gone out.
    private var responseStarted = false
    /// Whether nothing but the request line's beginning is awaited, so that the connection can be
    /// closed without loss.
    private(set) var isIdle = false
    let timer: HTTPDeadline
    /// Answers 408 while this connection's own task still waits for bytes.
    private var lateAnswer: Task<Void, Never>?

    init(_ stream: any ByteStream, _ service: HTTPService) {
        self.stream = stream
        self.service = service
        timer = HTTPDeadline(service.clock)
        timer.connection = self
    }

    /// Serves requests until either side has had enough; then closes the connection in order.
    func run() async {
        serving: while !service.isStopping {
            switch await nextRequest() {
            case .none: break serving
            case .request(let request):
                let goesOn = await exchange(request)
                request.connection = nil
                if goesOn { continue }
            case .refused(let status):
                // What is no request gets an answer, and is the last one.
                if timer.hasExpired { break serving }
                await sendLast(status)
            }
            await drain()
            break
        }
        if let lateAnswer, !Task.isCancelled { await lateAnswer.value }
        timer.stop()
        stream.close()
    }

    // MARK: Receiving

    /// Puts the next bytes into `input` if there are none; false at the end of the stream, and
    /// after a failure or a time-out.
    private func fill() async -> Bool {
        if input != nil { return true }
        do throws(StreamError) {
            guard let received = try await stream.receive(), !timer.hasExpired else {
                return false
            }
            input = consume received
            return true
        } catch {
            return false
        }
    }

    /// What the client wants next.
    private enum Next {
        case request(HTTPRequest)
        case refused(HTTPStatus)
        /// There is nothing to answer any more.
        case none
    }

    /// The next request.
    private func nextRequest() async -> Next {
        var parser = HTTPRequestParser(
            headLimit: service.limits.headBytes, targetLimit: service.limits.targetBytes)
        var gathered: IOBuffer?
        responseStarted = false
        isIdle = input == nil
        timer.set(.idle, service.limits.idleTime)
        while await fill() {
            isIdle = false
            guard let received = input.take() else { return .none }
            switch advance(&parser, &gathered, received) {
            case .incomplete:
                if gathered == nil { return .refused(.serviceUnavailable) }
                timer.begin(.head, service.limits.headTime)
            case .refused(let status): return .refused(status)
            case .complete(let head):
                timer.clear()
                guard let bytes = gathered.take() else { return .refused(.serviceUnavailable) }
                return accept(head, bytes)
            }
        }
        return .none
    }

    /// Has the parser look at `received`, in place if the head began in it. A head, or a part of
    /// one, is copied to `gathered`: the driver needs its buffers more than we need the copy
    /// spared. What follows the head goes back to `input`.
    private func advance(
        _ parser: inout HTTPRequestParser, _ gathered: inout IOBuffer?,
        _ received: consuming IOBuffer
    ) -> HTTPRequestParser.Outcome {
        guard var collected = gathered.take() else {
            let outcome = parser.parse(received.bytes)
            var length = received.count
            if case .complete(let head) = outcome { length = head.length }
            let isComplete = length < received.count || outcome != .incomplete
            gathered = try? IOBuffer(capacity: isComplete ? length : service.limits.headBytes)
            gathered?.append(received.bytes.extracting(0..<length))
            keep(received, after: length)
            return outcome
        }
        let before = collected.count
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

    /// Keeps what follows the first `used` bytes of `received` for later.
    private func keep(_ received: consuming IOBuffer, after used: Int) {
        received.removeFirst(used)
        if !received.isEmpty { input = consume received }
    }

    /// The request with this head.
    private func accept(_ head: HTTPRequestHead, _ bytes: consuming IOBuffer) -> Next {
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
        if request.bodyState.hasEnded { return nil }
        if request.bodyState.owesContinue, !responseStarted {
            request.bodyState.owesContinue = false
            let line = ByteWriter(capacity: 32)
            line.append("HTTP/1.1 100 Continue\r\n\r\n")
            guard let line = line.take() else { throw .outOfMemory }
            _ = try await transmit(nil, line)
        }
        while true {
            timer.set(.body, service.limits.bodyTime)
            guard await fill(), let received = input.take() else {
                throw timer.hasExpired ? .timedOut : .disconnected
            }
            timer.clear()
            if let data = try take(from: received, of: request) { return data }
            if request.bodyState.hasEnded { return nil }
        }
    }

    /// The body's next bytes if there are any in `received`; what follows them is kept.
    private func take(
        from received: consuming IOBuffer, of request: HTTPRequest
    ) throws(HTTPError) -> IOBuffer? {
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

    /// Sends both buffers within the time limit; gives `body` back.
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
        timer.set(.send, service.limits.sendTime)
        let done = await stream.send(head, body)
        timer.clear()
        if case .failure = done.result { throw timer.hasExpired ? .timedOut : .disconnected }
        return done.take()
    }

    /// Has the handler answer `request` and sends the response; whether the connection goes on.
    private func exchange(_ request: HTTPRequest) async -> Bool {
        var explanation: HTTPResponse?
        while true {
            do throws(HTTPError) {
                let response: HTTPResponse
                if let explanation {
                    response = explanation
                } else {
                    response = try await service.respond(request)
                }
                let goesOn = try await respond(response, to: request)
                return goesOn ? await discardBody(of: request) : false
            } catch {
                // Too late for another answer: the peer must see that this one is not whole.
                guard explanation == nil, !responseStarted, !timer.hasExpired,
                    let status = error.status
                else {
                    if lateAnswer == nil { stream.close() }
                    return false
                }
                let response = HTTPResponse.explained(status)
                response.closes = !request.bodyState.hasEnded
                explanation = response
            }
        }
    }

    private func respond(
        _ response: HTTPResponse, to request: HTTPRequest
    ) async throws(HTTPError) -> Bool {
        let old = request.head.minorVersion == 0
        let plan = HTTPResponsePlan(
            response,
            keepsAlive: request.head.keepsAlive && !service.isStopping
                && !mustClose(request, response), old: old)
        let goesOn = plan.goesOn
        guard let head = response.finishHead(plan, wallTime: service.clock.wallTime) else {
            throw .outOfMemory
        }
        let writer = HTTPBodyWriter(self, head: head, plan.framing)
        let body = response.takeBody()
        if request.method == .head || response.status.hasNoBody {
            writer.omitBody()
        } else {
            switch consume body {
            case .none: break
            case .buffer(let buffer): _ = try await writer.write(buffer)
            case .produced(_, let produce): try await produce(writer)
            }
        }
        try await writer.end()
        return goesOn
    }

    /// Whether the rest of the request's body is too much to read, or may never come.
    private func mustClose(_ request: HTTPRequest, _ response: HTTPResponse) -> Bool {
        if response.closes { return true }
        // What produces the response may read the body on the way.
        switch response.body {
        case .produced: return false
        default: break
        }
        if request.bodyState.hasEnded { return false }
        if request.bodyState.owesContinue { return true }
        if case .length(let rest) = request.bodyState.rest {
            return rest > UInt64(service.limits.discardedBytes)
        }
        return false
    }

    /// Reads what the handler left of the body; false if that is too much, or is no body.
    private func discardBody(of request: HTTPRequest) async -> Bool {
        if request.bodyState.owesContinue, !request.bodyState.hasEnded { return false }
        var allowance = service.limits.discardedBytes
        do throws(HTTPError) {
            while let bytes = try await nextBytes(of: request) {
                allowance -= bytes.count
                if allowance < 0 { return false }
            }
            return true
        } catch {
            return false
        }
    }

    /// Answers with a status that is a text too, and says that no answer follows.
    private func sendLast(_ status: HTTPStatus) async {
        let response = HTTPResponse.explained(status)
        let plan = HTTPResponsePlan(response, keepsAlive: false, old: false)
        guard let head = response.finishHead(plan, wallTime: service.clock.wallTime),
            case .buffer(let body) = response.takeBody()
        else { return }
        responseStarted = true
        timer.set(.send, service.limits.sendTime)
        _ = await stream.send(head, body)
        timer.clear()
    }

    /// Finishes sending, then reads and throws away a bounded amount: if the connection were
    /// closed with bytes unread, the peer's system could throw away our last response.
    private func drain() async {
        if timer.hasExpired { return }
        timer.set(.close, service.limits.closeTime)
        do throws(StreamError) { try await stream.finish() } catch { return }
        var allowance = service.limits.discardedBytes
        input = nil
        while allowance > 0, await fill() {
            guard let bytes = input.take() else { return }
            allowance -= bytes.count
        }
    }

    // MARK: Time

    /// Called when a deadline has passed: ends what waits.
    func expire(_ phase: HTTPDeadline.Phase) {
        let answers = (phase == .head || phase == .body) && !responseStarted
        guard answers else {
            stream.close()
            return
        }
        // Our own task is in `receive`, and only a closed stream ends that: answer beside it.
        lateAnswer = Task { await self.answerLate() }
    }

    private func answerLate() async {
        await sendLast(.requestTimeout)
        timer.set(.close, service.limits.closeTime)
        do throws(StreamError) { try await stream.finish() } catch {}
        timer.clear()
        stream.close()
    }
}
