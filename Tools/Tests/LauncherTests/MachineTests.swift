import Foundation
import Testing

@testable import Launcher

@Suite struct MachineTests {
    @Test func commasInPathsDoNotSplitOptions() {
        var machine = Machine(image: "image")
        machine.shares = [("si,te", .path("/run/a,b"))]
        #expect(machine.qemuArguments.contains("socket,id=fs0,path=/run/a,,b"))
        #expect(
            machine.qemuArguments.contains(
                "vhost-user-fs-device,chardev=fs0,tag=si,,te,queue-size=128"))
    }

    /// See `Machine.processors`.
    @Test func oneMoreProcessorIsPossibleThanThereIs() throws {
        var machine = Machine(image: "image")
        machine.cores = 3
        for (accelerator, wanted) in [(Accelerator.tcg, "cpus=3,maxcpus=4"), (.kvm, "cpus=3")] {
            machine.accelerator = accelerator
            let words = machine.qemuArguments
            let mark = try #require(words.firstIndex(of: "-smp"))
            #expect(words[mark + 1] == wanted)
        }
    }

    @Test(arguments: [(3, 0), (5, 1), (225, 111), (0, nil), (1, nil), (139, 68), (134, nil)])
    func statuses(_ pair: (qemu: Int32, guest: Int32?)) {
        #expect(Machine.guestStatus(ofQEMU: pair.qemu) == pair.guest)
    }
}
