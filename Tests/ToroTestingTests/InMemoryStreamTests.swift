import Testing
import ToroCore
import ToroTesting

/// The streams that tests use instead of real ones keep the promises of real ones.
@Suite(.timeLimit(.minutes(5))) struct InMemoryStreamTests {
    @Test(arguments: [(65_536, 65_536), (1_000, 65_536), (65_536, 100)]) @Core
    func conformsToTheStreamProtocol(_ room: (piece: Int, window: Int)) async {
        let conformance = ByteStreamConformance {
            let ends = InMemoryStream.pair()
            for end in [ends.0, ends.1] {
                end.bytesPerReceive = room.piece
                end.window = room.window
            }
            return ends
        }
        for failure in await conformance.run() { Issue.record("\(failure)") }
        #expect(conformance.checks > 200)
    }

    @Test @Core func aListenerKeepsWhatComesBeforeItAccepts() async throws {
        let port = InMemoryListener()
        let clients = [port.connect(), port.connect()]
        for (index, client) in clients.enumerated() { client.inject([UInt8(index)]) }
        #expect(port.pendingConnections == 2)
        for index in 0..<2 { #expect(try await port.accept().takeAll() == [UInt8(index)]) }
        let late = Task { try? await port.accept().takeAll().count }
        await HostRunLoop.shared.settle()
        _ = port.connect()
        #expect(await late.value == 0)
    }

    @Test @Core func aClosedListenerResetsWhatItHasNotAccepted() async {
        let port = InMemoryListener()
        let early = port.connect()
        port.close()
        let late = port.connect()
        for client in [early, late] {
            await #expect(throws: StreamError.reset) { _ = try await client.receive() == nil }
        }
        await #expect(throws: ListenError.closed) { _ = try await port.accept() }
    }

    @Test @Core func aCancelledAcceptEnds() async {
        let port = InMemoryListener()
        let task = Task { () -> ListenError? in
            do throws(ListenError) { _ = try await port.accept() } catch { return error }
            return nil
        }
        await HostRunLoop.shared.settle()
        task.cancel()
        #expect(await task.value == .cancelled)
    }
}
