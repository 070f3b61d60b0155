import ToroCore

extension HTTPConnection {
    /// Sends both buffers of a response within the time limit; gives `body` back.
    func send(
        _ head: consuming IOBuffer?, _ body: consuming IOBuffer
    ) async throws(HTTPError) -> IOBuffer {
        responseStarted = true
        return try await transmit(head, body)
    }

    func transmit(
        _ head: consuming IOBuffer?, _ body: consuming IOBuffer
    ) async throws(HTTPError) -> IOBuffer {
        guard !isOver else { throw .timedOut }
        timer.set(.send)
        return try transmitted(await stream.send(head, body))
    }

    private func transmitted(
        _ done: consuming Completed<StreamError>
    ) throws(HTTPError) -> IOBuffer {
        timer.clear()
        if case .failure = done.result { throw isOver ? .timedOut : .disconnected }
        return done.take()
    }

    /// Sends a response; what to send instead if that fails and it is not too late.
    func send(_ response: HTTPResponse, to request: HTTPRequest) async -> HTTPResponse? {
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
    func explanation(of error: HTTPError, for request: HTTPRequest) -> HTTPResponse? {
        guard !isExplaining, !responseStarted, !isOver, let status = error.status else {
            // Too late for another answer: the peer must see that this one is not whole.
            if responseStarted, lateAnswer == nil { stream.abort() }
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
    func sendLast(_ status: HTTPStatus) async {
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
}
