import ToroCore

extension HTTPConnection {
    /// Puts the next bytes into `input` if there are none; false at the end of the stream, and
    /// after a failure or a time-out.
    private func fill() async -> Bool {
        if input != nil { return true }
        do throws(StreamError) {
            input = try await stream.receive()
            return input != nil && !isOver
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
    func nextRequest() async -> HTTPRequest? {
        var step = begin()
        while case .incomplete = step {
            if input == nil { service.rest(self) }
            guard await fill() else { return nil }
            step = advance()
        }
        service.work(self)
        switch step {
        case .request(let request):
            if service.admits(self) { return request }
            if await service.waitForMemory(self) { return request }
            if service.admitsLastWord(self) { await sendLast(.serviceUnavailable) }
        case .refused(let status): if service.admitsLastWord(self) { await sendLast(status) }
        case .incomplete, .end: break
        }
        return nil
    }

    /// Begins to wait for a request, or for the rest of the one before.
    @inline(never) private func begin() -> Step {
        if service.isStopping { return .end }
        if unread != nil {
            timer.set(.body)
            return .incomplete
        }
        parser = HTTPRequestParser(service.limits)
        gathered = nil
        headLength = 0
        responseStarted = false
        isExplaining = false
        isIdle = input == nil
        timer.set(.idle)
        return .incomplete
    }

    /// Uses bytes that were received.
    @inline(never) private func advance() -> Step {
        if let unread { return discard(unread) }
        guard let received = input.take() else { return .end }
        if isIdle {
            // Whoever has begun a request is not the first one to give way.
            isIdle = false
            service.work(self)
        }
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
        headLength = head.length
        guard service.hasHeadMemory(headLength) else { return .refused(.serviceUnavailable) }
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
            guard await fill() else { throw isOver ? .timedOut : .disconnected }
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
}
