import Testing
import ToroCore
import ToroTesting
import ToroVirtio
import ToroVsock

/// Devices that cannot be driven.
@Suite(.timeLimit(.minutes(2))) struct VsockSetupTests: VsockSuite {
    /// A device that cannot be driven is named as that, not as missing.
    @Test @Core func aDeviceOfAnotherVersionIsNamed() async throws {
        let host = MockVsockHost()
        host.device.defect = .unsupportedVersion(1)
        let bus = MockVirtioBus(host.device)
        #expect {
            _ = try bus.vsock(clock: VirtualClock())
        } throws: {
            ($0 as? WiringError)?.explanation.contains("force-legacy=false") == true
        }
        let good = MockVsockHost()
        _ = try MockVirtioBus(host.device, good.device).vsock(clock: VirtualClock())
    }

    /// A driver whose setup fails has told the device of none of its memory, which is freed.
    @Test(arguments: [[], [64], [64, 0], [64, 1]] as [[UInt16]]) @Core
    func aDeviceWithoutAQueueKeepsNone(_ sizes: [UInt16]) {
        let device = MockVirtioDevice(.socket, queueSizes: sizes, configuration: [3])
        #expect(throws: WiringError.self) {
            _ = try MockVirtioBus(device).vsock(clock: VirtualClock())
        }
        #expect(device.queues.allSatisfy { $0 == nil })
        #expect(device.status.contains(.failed))
    }
}
