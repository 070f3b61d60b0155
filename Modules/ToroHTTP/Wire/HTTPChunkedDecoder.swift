/// Finds the data in a body that comes in chunks (RFC 9112 section 7.1).
///
/// Chunk extensions and trailer fields are skipped, up to a limit. A line ends with CRLF and with
/// nothing else.
public struct HTTPChunkedDecoder {
    /// What the next bytes are.
    public enum Step: Equatable, Sendable {
        /// The first `consumed` bytes are framing, and all there is.
        case incomplete(consumed: Int)
        /// These bytes are data; all up to the range's end is used up.
        case data(Range<Int>)
        /// The body has ended; what follows the first `consumed` bytes is the next request.
        case end(consumed: Int)
        /// Not the chunked coding.
        case malformed
    }

    private enum State {
        case sizeStart, size, sizeBlank, extensions, sizeLineFeed
        case data
        case dataCarriageReturn, dataLineFeed
        case trailerStart, trailer, trailerLineFeed, endLineFeed
        case ended
    }

    /// The most bytes of framing between two pieces of data.
    static var overheadLimit: Int { 4096 }

    private var state = State.sizeStart
    private var remaining: UInt64 = 0
    private var overhead = 0

    /// A decoder at the start of a body.
    public init() {}

    /// Whether the body has ended.
    public var hasEnded: Bool { state == .ended }

    /// Looks at bytes that were not used up before. O(bytes).
    public mutating func next(_ bytes: RawSpan) -> Step {
        var index = 0
        while index < bytes.byteCount {
            if state == .data {
                let count = Int(min(remaining, UInt64(bytes.byteCount - index)))
                remaining -= UInt64(count)
                overhead = 0
                if remaining == 0 { state = .dataCarriageReturn }
                return .data(index..<index + count)
            }
            if state == .ended { return .end(consumed: index) }
            overhead += 1
            guard overhead <= HTTPChunkedDecoder.overheadLimit, take(bytes.byte(index)) else {
                return .malformed
            }
            index += 1
        }
        return state == .ended ? .end(consumed: index) : .incomplete(consumed: index)
    }

    /// Moves on by one byte of framing; false if it must not be there.
    private mutating func take(_ byte: UInt8) -> Bool {
        switch state {
        case .sizeStart: return takeDigit(byte)
        case .size:
            if ASCII.hexValue(byte) != nil { return takeDigit(byte) }
            return takeAfterSize(byte)
        case .sizeBlank: return takeAfterSize(byte)
        case .extensions:
            if byte == ASCII.carriageReturn { return move(.sizeLineFeed) }
            return isText(byte)
        case .sizeLineFeed:
            return byte == ASCII.lineFeed && move(remaining == 0 ? .trailerStart : .data)
        case .dataCarriageReturn:
            return byte == ASCII.carriageReturn && move(.dataLineFeed)
        case .dataLineFeed: return byte == ASCII.lineFeed && move(.sizeStart)
        case .trailerStart:
            if byte == ASCII.carriageReturn { return move(.endLineFeed) }
            return ASCII.isToken(byte) && move(.trailer)
        case .trailer:
            if byte == ASCII.carriageReturn { return move(.trailerLineFeed) }
            return isText(byte)
        case .trailerLineFeed: return byte == ASCII.lineFeed && move(.trailerStart)
        case .endLineFeed: return byte == ASCII.lineFeed && move(.ended)
        case .data, .ended: return false
        }
    }

    private mutating func takeDigit(_ byte: UInt8) -> Bool {
        // Below 2^59, so that four more bits fit.
        guard let digit = ASCII.hexValue(byte), remaining >> 59 == 0 else { return false }
        remaining = remaining << 4 | UInt64(digit)
        return move(.size)
    }

    /// Blanks may stand between a size and its extensions (BWS), not before the line's end.
    private mutating func takeAfterSize(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x3B: return move(.extensions)
        case ASCII.space, ASCII.horizontalTab: return move(.sizeBlank)
        case ASCII.carriageReturn: return state == .size && move(.sizeLineFeed)
        default: return false
        }
    }

    private func isText(_ byte: UInt8) -> Bool {
        byte == ASCII.horizontalTab || (byte >= ASCII.space && byte != 0x7F)
    }

    private mutating func move(_ next: State) -> Bool {
        state = next
        return true
    }
}
