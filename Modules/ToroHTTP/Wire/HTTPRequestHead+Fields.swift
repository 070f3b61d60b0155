extension HTTPRequestHead {
    /// What the fields that matter to framing and connection said.
    private struct Control {
        var hosts = 0
        var contentLength: UInt64?
        var hasTransferEncoding = false
        /// The transfer codings, those that are "chunked", and whether the last one is.
        var codings = 0
        var chunkedCodings = 0
        var endsChunked = false
        var close = false
        var keepAlive = false
    }

    /// Checks all header fields (RFC 9112 section 5) and draws the conclusions of sections 6.3
    /// and 9.3; a status if the request is refused. `bytes` end with the head.
    func parseFields(_ bytes: RawSpan) -> HTTPStatus? {
        var control = Control()
        var cursor = HTTPFieldCursor(offset: fields)
        while let field = cursor.next(in: bytes) {
            // A name is a token: this refuses folded lines, and a blank before the colon.
            guard let value = field.value, bytes.isToken(field.name) else { return .badRequest }
            if let refusal = read(bytes, field.name, value, &control) { return refusal }
        }
        return conclude(control)
    }

    private func read(
        _ bytes: RawSpan, _ name: Range<Int>, _ value: Range<Int>, _ control: inout Control
    ) -> HTTPStatus? {
        if bytes.matches(name, "host") {
            control.hosts += 1
            guard HTTPRequestHead.isAuthority(bytes, value) else { return .badRequest }
        } else if bytes.matches(name, "content-length") {
            // Twice, even with the same value, is refused: nobody honest sends that.
            guard control.contentLength == nil, let length = bytes.decimal(value) else {
                return .badRequest
            }
            control.contentLength = length
        } else if bytes.matches(name, "transfer-encoding") {
            control.hasTransferEncoding = true
            var list = HTTPListCursor(value)
            while let coding = list.next(in: bytes) {
                control.codings += 1
                control.endsChunked = bytes.matches(coding, "chunked")
                if control.endsChunked { control.chunkedCodings += 1 }
            }
        } else if bytes.matches(name, "connection") {
            var list = HTTPListCursor(value)
            while let option = list.next(in: bytes) {
                if bytes.matches(option, "close") { control.close = true }
                if bytes.matches(option, "keep-alive") { control.keepAlive = true }
            }
        } else if bytes.matches(name, "expect"), minorVersion == 1 {
            guard bytes.matches(value, "100-continue") else { return .expectationFailed }
            expectsContinue = true
        } else if bytes.matches(name, "range") || bytes.matches(name.prefix(3), "if-") {
            isConditional = true
        }
        return nil
    }

    private func conclude(_ control: Control) -> HTTPStatus? {
        guard control.hosts == 1 || (control.hosts == 0 && minorVersion == 0) else {
            return .badRequest
        }
        if control.hasTransferEncoding {
            // Without "chunked" once and last, nobody knows where the body ends (section 6.3).
            guard minorVersion == 1, control.contentLength == nil, control.endsChunked,
                control.chunkedCodings == 1
            else { return .badRequest }
            guard control.codings == 1 else { return .notImplemented }
            framing = .chunked
        } else if let length = control.contentLength, length > 0 {
            framing = .length(length)
        }
        if framing == .none { expectsContinue = false }
        keepsAlive = !control.close && (minorVersion == 1 || control.keepAlive)
        return nil
    }
}
