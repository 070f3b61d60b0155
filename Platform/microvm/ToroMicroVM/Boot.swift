#if hasFeature(Embedded)
import CMicroVM
import MachineDescription
import ToroCore

/// The way from the first instruction of Swift to `main`.
@safe enum Boot {
    private static let mainStackSize: (small: UInt64, usual: UInt64) = (64 << 10, 256 << 10)
    /// With less RAM than this the main stack is the small one.
    private static let smallMachine: UInt64 = 16 << 20

    // SAFETY: these are written by the first core before there is a second, and then only read.
    nonisolated(unsafe) private static var firstInstruction: UInt64 = 0
    nonisolated(unsafe) private static var pages: PageMap?
    nonisolated(unsafe) private(set) static var interruptTable: UInt64 = 0

    /// On the boot stack: memory, stacks and traps.
    @_optimize(size) static func first(startInfo: UInt64, timeStamp: UInt64) -> Never {
        unsafe firstInstruction = timeStamp
        do throws(StartInfoError) {
            let info = try StartInfo(
                parsing: unsafe PhysicalMemory.span(startInfo, StartInfo.size))
            let table = unsafe PhysicalMemory.span(
                info.memoryMap, info.memoryMapCount * MemoryMap.entrySize)
            let length = unsafe PhysicalMemory.stringLength(
                info.commandLine, limit: KernelCommandLine.maximumLength)
            Machine.setCommandLine(info.commandLine, length)
            let reserved: InlineArray<7, PhysicalRange> = [
                PhysicalRange(0, 4096), Memory.legacy,
                PhysicalRange(Memory.trampoline, Memory.trampoline + 4096),
                PhysicalRange(toro_image_start_address(), toro_image_end_address()),
                PhysicalRange(startInfo, startInfo + UInt64(StartInfo.size)),
                PhysicalRange(info.memoryMap, info.memoryMap + UInt64(table.byteCount)),
                PhysicalRange(info.commandLine, info.commandLine + UInt64(length) + 1),
            ]
            prepare(MemoryMap(parsing: table), reserved: reserved.span)
        } catch {
            unsafe Panic.fail("the hypervisor's start info is not PVH version 1", .exception)
        }
    }

    @_optimize(size) @inline(never) private static func prepare(
        _ map: MemoryMap, reserved: Span<PhysicalRange>
    ) -> Never {
        do throws(PageMapError) {
            KernelHeap.reportFaults()
            let pages = try Memory.start(map, reserved: reserved)
            let size =
                map.size < smallMachine ? mainStackSize.small : mainStackSize.usual
            let stacks = try Stacks.make(core: 0, size: size, in: pages)
            guard let tables = Frames.zeroed(), let interrupts = Frames.zeroed() else {
                throw .outOfMemory
            }
            InterruptTable.build(at: interrupts)
            InterruptTable.load(at: interrupts)
            Descriptors.load(at: tables, stacks: (stacks.exceptions, stacks.interrupts))
            unsafe toro_core().pointee.stack_top = stacks.main
            unsafe toro_core().pointee.stack_size = size
            unsafe interruptTable = interrupts
            unsafe self.pages = pages
            toro_switch_stack(stacks.main) { Boot.second() }
        } catch {
            outOfMemory()
        }
    }

    private static func outOfMemory() -> Never {
        unsafe Panic.fail("out of memory while booting; give the guest more", .outOfMemory)
    }

    /// On the real stack, with traps that explain themselves: clock, devices, `main`.
    @_optimize(size) private static func second() -> Never {
        guard let pages = unsafe pages else { unsafe Panic.fail("no page map", .exception) }
        do throws(PageMapError) {
            try Memory.mapDevice(pages, LocalAPIC.base, size: 4096)
            LegacyInterrupts.mask()
            LocalAPIC.start()
            let words = unsafe KernelCommandLine(
                parsing: PhysicalMemory.span(
                    Machine.commandLine.address, Machine.commandLine.length))
            let files = FirmwareFile.find(in: FirmwarePorts())
            let epoch =
                files.epoch?.wallTime(in: FirmwarePorts())
                ?? words.epoch.map {
                    WallTime(seconds: $0.seconds, nanoseconds: $0.nanoseconds)
                }
            let clock = unsafe MachineClock(zero: firstInstruction, epoch: epoch)
            try Memory.mapDevice(pages, IOAPIC.base, size: 4096)
            for index in 0..<words.devices.count {
                let device = words.devices[index]
                try Memory.mapDevice(pages, device.address, size: device.size)
            }
            let core = Core()
            unsafe toro_core().pointee.context = unsafe Unmanaged.passRetained(core).toOpaque()
            let loop = CoreLoop.make(clock: clock, isFirst: true)
            core.start(clock: loop)
            Machine.start(devices: words.devices, parameters: files.parameters, loop: loop)
            _ = main(0, nil)
            loop.enter()
        } catch {
            outOfMemory()
        }
    }
}

/// Where boot.S enters Swift.
@c(toro_boot) public func boot(_ startInfo: UInt64, _ timeStamp: UInt64) {
    Boot.first(startInfo: startInfo, timeStamp: timeStamp)
}

/// The 8259 pair of a PC, which would otherwise interrupt with vectors of exceptions.
enum LegacyInterrupts {
    /// Masks all lines of both.
    static func mask() {
        toro_out8(0x21, 0xff)
        toro_out8(0xa1, 0xff)
    }
}
#endif
