import ToroCore

/// Percent-encoded paths (RFC 3986 section 2.1).
enum HTTPPath {
    /// The bytes that the path in `range` names; nil for a path that could name a file in more
    /// than one way: a wrong escape, a NUL, an encoded slash, or a `..` in any writing. An empty
    /// path is `/`.
    static func decode(_ bytes: RawSpan, _ range: Range<Int>) -> [UInt8]? {
        var path: [UInt8] = []
        path.reserveCapacity(range.count)
        if range.isEmpty { path.add(ASCII.slash) }
        var index = range.lowerBound
        while index < range.upperBound {
            var byte = bytes.byte(index)
            index += 1
            if byte == ASCII.percent {
                guard range.upperBound - index >= 2,
                    let high = ASCII.hexValue(bytes.byte(index)),
                    let low = ASCII.hexValue(bytes.byte(index + 1))
                else { return nil }
                byte = high << 4 | low
                index += 2
                if byte == 0 || byte == ASCII.slash { return nil }
            }
            path.add(byte)
        }
        return climbs(path) ? nil : path
    }

    /// Whether one of the names in `path` is `..`.
    private static func climbs(_ path: [UInt8]) -> Bool {
        var length = 0
        var dots = 0
        for byte in path {
            if byte == ASCII.slash {
                if length == 2 && dots == 2 { return true }
                length = 0
                dots = 0
            } else {
                length += 1
                if byte == ASCII.dot { dots += 1 }
            }
        }
        return length == 2 && dots == 2
    }
}
