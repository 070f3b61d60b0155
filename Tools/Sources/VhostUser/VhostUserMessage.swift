/// A request of the front end (QEMU docs, "vhost-user protocol", "Front-end message types").
enum VhostUserRequest: UInt32 {
    case getFeatures = 1
    case setFeatures = 2
    case setOwner = 3
    case resetOwner = 4
    case setMemoryTable = 5
    case setVringNumber = 8
    case setVringAddress = 9
    case setVringBase = 10
    case getVringBase = 11
    case setVringKick = 12
    case setVringCall = 13
    case setVringError = 14
    case getProtocolFeatures = 15
    case setProtocolFeatures = 16
    case getQueueNumber = 17
    case setVringEnable = 18
    case getConfig = 24
    case setConfig = 25
}

/// A message: request, flags, and a payload of up to 4 KiB.
struct VhostUserMessage {
    static let headerSize = 12
    static let payloadLimit = 4096

    var request: UInt32
    var flags: UInt32
    var payload: [UInt8]

    /// The header's flags for a reply: version 1, reply.
    static let replyFlags: UInt32 = 0x5

    var isVersion1: Bool { flags & 3 == 1 }
    var needsReply: Bool { flags & 8 != 0 }

    /// The little-endian number at a byte of the payload; nil beyond its end.
    func number<T: FixedWidthInteger>(at offset: Int, as type: T.Type = T.self) -> T? {
        let size = T.bitWidth / 8
        guard offset >= 0, payload.count - size >= offset else { return nil }
        var value: T = 0
        for index in (0..<size).reversed() {
            value = value << 8 | T(truncatingIfNeeded: payload[offset + index])
        }
        return value
    }

    /// The bytes of a reply to this request.
    func reply(_ payload: [UInt8]) -> [UInt8] {
        request.littleEndianBytes + VhostUserMessage.replyFlags.littleEndianBytes
            + UInt32(payload.count).littleEndianBytes + payload
    }
}

extension FixedWidthInteger {
    /// The number's bytes, the least significant first.
    package var littleEndianBytes: [UInt8] {
        (0..<Self.bitWidth / 8).map { UInt8(truncatingIfNeeded: self >> Self($0 * 8)) }
    }
}
