import Testing
import ToroCore
import ToroTesting
import ToroVsock

/// What the suites of the driver share.
protocol VsockSuite {}

extension VsockSuite {
    @Core func driver(
        _ host: MockVsockHost, room: UInt32 = 65_536, clock: VirtualClock = VirtualClock()
    ) throws(WiringError) -> VsockDriver {
        try MockVirtioBus(host.device).vsock(bufferAllocation: room, clock: clock)
    }

    /// A driver that listens on port 5, and a connection to it.
    @Core func open(_ host: MockVsockHost) async throws -> (
        driver: VsockDriver, port: VsockListener, client: MockVsockStream, stream: VsockStream
    ) {
        let driver = try driver(host)
        let port = try driver.listen(5)
        let client = try #require(await host.connect(to: 5))
        return (driver, port, client, try await port.accept())
    }

    func bytes(_ text: String) throws(OutOfMemory) -> IOBuffer {
        var buffer = try IOBuffer(capacity: text.utf8.count)
        for byte in text.utf8 { buffer.append(byte) }
        return buffer
    }

    func text(_ buffer: consuming IOBuffer?) -> String? {
        guard let buffer else { return nil }
        return string(buffer)
    }

    func string(_ buffer: borrowing IOBuffer) -> String {
        String(decoding: contents(buffer), as: UTF8.self)
    }

    func contents(_ buffer: borrowing IOBuffer) -> [UInt8] {
        var bytes: [UInt8] = []
        let span = buffer.bytes
        for index in span.byteOffsets {
            // SAFETY: the index is one of the span's.
            bytes.append(unsafe span.unsafeLoad(fromByteOffset: index, as: UInt8.self))
        }
        return bytes
    }
}
