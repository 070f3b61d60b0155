import ToroCore

/// How a response is framed on its connection (RFC 9112 section 6).
struct HTTPResponsePlan {
    /// Whether the connection goes on afterwards.
    let goesOn: Bool
    /// How the peer finds the end of a produced body.
    let framing: HTTPBodyWriter.Framing
    /// The length to announce, if there is one.
    let length: UInt64?
    /// Whether the peer must be told that the connection goes on (HTTP/1.0).
    let announcesKeepAlive: Bool

    /// The plan for `response` on a connection that would go on if `keepsAlive`; `old` for a
    /// client of HTTP/1.0, which knows no chunks.
    @Core init(_ response: HTTPResponse, keepsAlive: Bool, old: Bool) {
        switch response.body {
        case .none: length = response.status.hasNoBody ? nil : 0
        case .buffer(let buffer):
            // 204 must not announce a length (RFC 9110 section 8.6).
            length = response.status == .noContent ? nil : UInt64(buffer.count)
        case .produced(let length, _): self.length = length
        }
        let isChunked = length == nil && !response.status.hasNoBody
        goesOn = keepsAlive && !(isChunked && old)
        if let length {
            framing = .length(length)
        } else {
            framing = old ? .connection : .chunked
        }
        announcesKeepAlive = goesOn && old
    }
}

extension HTTPResponse {
    /// Adds the server's own fields and ends the head; nil if there was not enough memory.
    func finishHead(_ plan: HTTPResponsePlan, wallTime: WallTime?) -> IOBuffer? {
        if let wallTime {
            begin("Date")
            HTTPDate(seconds: wallTime.seconds).emit(into: head)
            end()
        }
        if let length = plan.length {
            begin("Content-Length")
            head.append(decimal: length)
            end()
        } else if !status.hasNoBody, case .chunked = plan.framing {
            add("Transfer-Encoding", "chunked")
        }
        if !plan.goesOn {
            add("Connection", "close")
        } else if plan.announcesKeepAlive {
            add("Connection", "keep-alive")
        }
        head.append("\r\n")
        return head.take()
    }

    /// The body; there is none afterwards.
    func takeBody() -> Body {
        var taken = Body.none
        swap(&taken, &body)
        return taken
    }
}
