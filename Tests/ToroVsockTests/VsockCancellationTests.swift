import Testing
import ToroCore
import ToroTesting
import ToroVsock

/// What waits for the device ends at once when it is cancelled or its stream is closed.
@Suite(.timeLimit(.minutes(5))) struct VsockCancellationTests {
    /// A send of 1,000 bytes that a deaf host does not take.
    @Core private final class Send {
        let host = MockVsockHost()
        let client: MockVsockStream
        let stream: VsockStream
        private(set) var error: StreamError?
        private(set) var capacity: Int?
        private var task: Task<Void, Never>?

        init() async throws {
            let driver = try MockVirtioBus(host.device).vsock(
                bufferAllocation: 10_000, clock: VirtualClock())
            let port = try driver.listen(5)
            client = try #require(await host.connect(to: 5))
            stream = try await port.accept()
            await HostRunLoop.shared.settle()
            host.isDeaf = true
            task = Task { await send() }
            await HostRunLoop.shared.settle()
            #expect(error == nil)
        }

        private func send() async {
            guard var buffer = try? IOBuffer(capacity: 1_000) else { return }
            for _ in 0..<1_000 { buffer.append(UInt8(ascii: "x")) }
            let done = await stream.send(buffer)
            if case .failure(let error) = done.result { self.error = error }
            capacity = done.buffer.capacity
        }

        func cancel() async {
            task?.cancel()
            await HostRunLoop.shared.settle()
        }
    }

    @Test @Core func aCancelledSendReturnsWithoutItsBuffer() async throws {
        let send = try await Send()
        await send.cancel()
        #expect(send.error == .cancelled)
        #expect(send.capacity == 0)
        // The device still had the bytes, and the connection goes on behind them.
        send.host.isDeaf = false
        var more = try IOBuffer(capacity: 10)
        more.append(UInt8(ascii: "y"))
        _ = await send.stream.send(more)
        var received = 0
        while received < 1_001, let buffer = try await send.client.receive() {
            received += buffer.count
        }
        #expect(received == 1_001)
        #expect(send.host.violations == [])
    }

    @Test @Core func closingEndsASendThatTheDeviceHas() async throws {
        let send = try await Send()
        send.stream.close()
        await HostRunLoop.shared.settle()
        #expect(send.error == .closed)
        #expect(send.capacity == 0)
        send.host.isDeaf = false
        await HostRunLoop.shared.settle()
        #expect(send.host.violations == [])
    }

    /// What a device holds that does not confirm its reset is never freed; of another, it is.
    @Test(arguments: [true, false]) @Core func memoryIsLostUntilAReset(_ hangs: Bool) async throws {
        weak var driver: VsockDriver?
        var device: MockVirtioDevice?
        var chain: MockChain?
        do {
            let host = MockVsockHost()
            device = host.device
            let stream: VsockStream
            let client: MockVsockStream
            do {
                let made = try MockVirtioBus(host.device).vsock(clock: VirtualClock())
                driver = made
                let port = try made.listen(5)
                client = try #require(await host.connect(to: 5))
                stream = try await port.accept()
            }
            host.isDeaf = true
            let sending = Task {
                guard var buffer = try? IOBuffer(capacity: 1_000) else { return -1 }
                buffer.append(1)
                return await stream.send(buffer).buffer.capacity
            }
            await HostRunLoop.shared.settle()
            chain = host.device.take(0)
            host.device.hangsInReset = hangs
            host.device.queues[1]?.give(head: 9_999, written: 0)
            host.device.interrupt()
            #expect(await sending.value == 0)
            #expect(client.localPort > 0)
        }
        await HostRunLoop.shared.settle()
        #expect((driver != nil) == hangs)
        #expect(device?.resets == 2)
        // The memory is there: the sanitizer would tell.
        if hangs { chain?.write([1, 2, 3]) }
    }

    /// A device that breaks its rules is no orderly end of the service.
    @Test @Core func aFailedDeviceIsToldToWhoAccepts() async throws {
        let host = MockVsockHost()
        let driver = try MockVirtioBus(host.device).vsock(
            bufferAllocation: 10_000, clock: VirtualClock())
        let port = try driver.listen(5)
        let server = Task { () -> ListenError? in
            do throws(ListenError) {
                _ = try await port.accept()
                return nil
            } catch {
                return error
            }
        }
        await HostRunLoop.shared.settle()
        host.device.queues[0]?.give(head: 9_999, written: 0)
        host.device.interrupt()
        #expect(await server.value == .deviceFailed)
        await #expect(throws: ListenError.deviceFailed) { try await port.accept() }
        // Nothing that the device does keeps the core awake.
        #expect(driver.arm())
    }
}
