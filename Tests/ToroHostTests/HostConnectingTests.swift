import Glibc
import Testing
import ToroCore
import ToroProcess

@testable import ToroHost

/// Why there is no TCP connection.
@Suite(.timeLimit(.minutes(5))) struct HostConnectingTests {
    /// What can be had here; the other codes are the system's.
    @Test @Core func whyThereIsNoConnectionIsSaid() async throws {
        let listener = try HostListener(port: 0)
        let port = listener.port
        let stream = try await HostStream.connect(port: port)
        stream.abort()
        listener.close()
        await #expect(throws: ConnectError.refused) { try await HostStream.connect(port: port) }
        await #expect(throws: ConnectError.unknownHost) {
            try await HostStream.connect(host: "no host", port: port)
        }
        // 255.255.255.255 is nobody's address (RFC 919), and TCP has no broadcasts.
        await #expect(throws: ConnectError.unreachable) {
            try await HostStream.connect(host: "255.255.255.255", port: port)
        }
        for (code, error) in [
            (ETIMEDOUT, ConnectError.timedOut), (EHOSTUNREACH, .unreachable),
            (EMFILE, .tooManyFiles), (ENFILE, .tooManyFiles), (ENOBUFS, .outOfMemory),
            (EACCES, .failed(code: EACCES)),
        ] { #expect(ConnectError(-code) == error) }
    }

    /// A peer that does not answer: its backlog is full, and the system drops what comes.
    @Test @Core func aConnectionThatIsNotAnsweredCanBeCancelled() async throws {
        let listener = try HostListener(port: 0, backlog: 1)
        var streams: [Task<HostStream?, Never>] = []
        for _ in 0..<8 {
            streams.append(
                Task { @Core in try? await HostStream.connect(port: listener.port) })
        }
        try await sleep(for: .milliseconds(50))
        for task in streams { task.cancel() }
        var connected = 0
        for task in streams { if let stream = await task.value { connected += 1; stream.abort() } }
        #expect((1..<8).contains(connected))
        listener.close()
    }

    /// It was there: that it was broken off is another matter than that there was none.
    @Test @Core func aConnectionThatIsResetAtOnceWasThere() async throws {
        let listener = try HostListener(port: 0)
        for _ in 0..<50 {
            let connecting = Task { @Core in
                do throws(ConnectError) {
                    return Result<HostStream, ConnectError>.success(
                        try await HostStream.connect(port: listener.port))
                } catch { return .failure(error) }
            }
            try await listener.accept().abort()
            let stream = try await connecting.value.get()
            await #expect(throws: StreamError.reset) { _ = try await stream.receive()?.count }
            stream.abort()
        }
        listener.close()
    }
}
