extension HTTPRequestHead {
    /// Reads `method SP request-target SP HTTP-version` (RFC 9112 section 3); a status if it is
    /// refused.
    func parseRequestLine(_ bytes: RawSpan, _ line: Range<Int>) -> HTTPStatus? {
        guard let first = bytes.first(ASCII.space, in: line), first > line.lowerBound,
            let second = bytes.first(ASCII.space, in: first + 1..<line.upperBound),
            second > first + 1
        else { return .badRequest }
        methodName = line.lowerBound..<first
        target = first + 1..<second
        guard bytes.isToken(methodName) else { return .badRequest }
        if let refusal = parseVersion(bytes, second + 1..<line.upperBound) { return refusal }
        method = HTTPMethod(bytes, methodName)
        return parseTarget(bytes)
    }

    private func parseVersion(_ bytes: RawSpan, _ range: Range<Int>) -> HTTPStatus? {
        guard range.count == 8 else { return .badRequest }
        var text: UInt64 = 0
        for index in range { text = text << 8 | UInt64(bytes.byte(index)) }
        let major = UInt8(truncatingIfNeeded: text >> 16)
        let minor = UInt8(truncatingIfNeeded: text)
        // "HTTP/", a digit, a dot and a digit.
        guard text & 0xFFFF_FFFF_FF00_FF00 == 0x4854_5450_2F00_2E00, ASCII.isDigit(major),
            ASCII.isDigit(minor)
        else { return .badRequest }
        guard major == 0x31 else { return .versionNotSupported }
        // A higher minor version is served as the highest we know (RFC 9110 section 2.5).
        minorVersion = minor == 0x30 ? 0 : 1
        return nil
    }

    /// Takes the target apart (section 3.2).
    private func parseTarget(_ bytes: RawSpan) -> HTTPStatus? {
        for index in target {
            let byte = bytes.byte(index)
            // A fragment never leaves the client; bytes over 0x7E must be percent-encoded.
            guard byte > ASCII.space, byte < 0x7F, byte != 0x23 else { return .badRequest }
        }
        // A tunnel's target is an authority, and tunnels are not ours.
        if method == .connect { return .notImplemented }
        if target.count == 1, bytes.byte(target.lowerBound) == 0x2A {
            path = target
            return method == .options ? nil : .badRequest
        }
        let origin = bytes.byte(target.lowerBound) == ASCII.slash
        guard let start = origin ? target.lowerBound : authorityEnd(bytes) else {
            return .badRequest
        }
        let mark = bytes.first(0x3F, in: start..<target.upperBound)
        path = start..<(mark ?? target.upperBound)
        query = mark.map { $0 + 1..<target.upperBound }
        return nil
    }

    /// Where the path begins in the absolute form, `http://authority/path`; nil if it is none.
    private func authorityEnd(_ bytes: RawSpan) -> Int? {
        guard let colon = bytes.first(ASCII.colon, in: target), target.upperBound - colon > 3,
            bytes.byte(colon + 1) == ASCII.slash, bytes.byte(colon + 2) == ASCII.slash
        else { return nil }
        let scheme = target.lowerBound..<colon
        guard bytes.matches(scheme, "http") || bytes.matches(scheme, "https") else { return nil }
        let start = colon + 3
        var end = start
        while end < target.upperBound, bytes.byte(end) != ASCII.slash, bytes.byte(end) != 0x3F {
            end += 1
        }
        return end > start && HTTPRequestHead.isAuthority(bytes, start..<end) ? end : nil
    }

    /// Whether only characters that a host and port can have are there; no user name.
    @inline(never) static func isAuthority(_ bytes: RawSpan, _ range: Range<Int>) -> Bool {
        for index in range {
            let byte = bytes.byte(index)
            if ASCII.isUnreserved(byte) { continue }
            switch byte {
            // Sub-delimiters, percent, colon, brackets (RFC 3986 section 3.2.2).
            case 0x21, 0x24...0x2C, 0x3A, 0x3B, 0x3D, 0x5B, 0x5D: continue
            default: return false
            }
        }
        return true
    }
}
