import Foundation
import Launcher
import Testing
import ToroCore
import ToroHost

/// What goes wrong around a guest: each has its message and status, and nothing is left.
@Suite(.serialized) struct FaultTests {
    /// How long anything of a run may outlive the death of a part, in seconds.
    private static let aftermath = 2.0

    private func serve(_ folder: TestFolder, _ more: [String] = []) throws -> ToroProcess {
        let image = try Images.webProbe().path
        return try ToroProcess(
            ["run", image, "--share", "site=\(folder.path)", "--publish", "0:80"] + more)
    }

    @Test func withoutQEMUItIsNamed() throws {
        let folder = try TestFolder()
        let run = try ToroProcess(["run", try Images.probe().path], path: folder.path)
        #expect(run.status() == 69)
        #expect(run.output.contains("qemu-system-x86_64"), "\(run.output)")
        #expect(run.output.contains("apt-get install"), "\(run.output)")
    }

    @Test func aWrongTagIsNamed() throws {
        let folder = try TestFolder()
        let image = try Images.webProbe().path
        let run = try ToroProcess(["run", image, "--share", "other=\(folder.path)"])
        #expect(run.status() == 2)
        #expect(run.output.contains("site"), "\(run.output)")
    }

    @Test func aMissingFolderIsNamed() throws {
        let image = try Images.webProbe().path
        let run = try ToroProcess(["run", image, "--share", "site=/no/such/folder"])
        #expect(run.status() == 64)
        #expect(run.output.contains("/no/such/folder"), "\(run.output)")
    }

    @Test @Core func aPortInUseIsNamed() async throws {
        let listener = try HostListener(port: 0)
        defer { listener.close() }
        let folder = try TestFolder()
        let image = try Images.webProbe().path
        let run = try ToroProcess(
            [
                "run", image, "--share", "site=\(folder.path)", "--publish",
                "\(listener.port):80",
            ])
        #expect(run.status() == 125)
        #expect(run.output.contains("\(listener.port)"), "\(run.output)")
        #expect(run.output.contains("in use"), "\(run.output)")
    }

    @Test(arguments: ["virtiofsd", "toro-vsock-devi", "qemu-system-x86", "toro"])
    func whenAPartIsKilledNothingIsLeft(_ victim: String) throws {
        let folder = try TestFolder()
        let run = try serve(folder)
        #expect(run.waits(for: "ready: "), "\(run.output)")
        let parts = run.parts
        #expect(parts.count >= 3, "\(parts)")
        if victim == "toro" {
            run.signal(SIGKILL)
        } else {
            for part in parts where part.name == victim { kill(part.pid, SIGKILL) }
            #expect(parts.contains { $0.name == victim }, "\(parts)")
        }
        let limit = Date(timeIntervalSinceNow: FaultTests.aftermath)
        while Date() < limit, parts.contains(where: { ToroProcess.isAlive($0.pid) }) {
            usleep(10_000)
        }
        let left = parts.filter { ToroProcess.isAlive($0.pid) }
        #expect(left.isEmpty, "\(left)")
        #expect(run.status() == (victim == "toro" ? 128 + SIGKILL : 125), "\(run.output)")
        if victim != "toro" {
            #expect(run.output.contains("ended by signal 9"), "\(run.output)")
        }
        let files = try FileManager.default.contentsOfDirectory(atPath: run.runFolder.path)
        #expect(files.isEmpty, "\(files)")
    }

    @Test(arguments: [SIGINT, SIGTERM])
    func aSignalEndsTheRunInOrder(_ signal: Int32) throws {
        let folder = try TestFolder()
        let run = try serve(folder)
        #expect(run.waits(for: "ready: "), "\(run.output)")
        let parts = run.parts
        run.signal(signal)
        #expect(run.status() == 128 + signal, "\(run.output)")
        #expect(!parts.contains { ToroProcess.isAlive($0.pid) })
    }

    @Test func anExhaustedGuestSaysSo() throws {
        let run = try ToroProcess(
            ["run", try Images.probe().path, "--memory", "8M", "--", "memory"])
        #expect(run.status() == 102)
        #expect(run.output.contains("out of memory"), "\(run.output)")
        #expect(run.output.contains("Failures.swift:"), "\(run.output)")
    }

    @Test func aDeepTrapNamesEveryCall() throws {
        let run = try ToroProcess(["run", try Images.probe().path, "--", "trap"])
        #expect(run.status() == 101)
        for function in ["inner", "middle", "outer"] {
            let line = run.output.split(separator: "\n").first {
                $0.contains("Failures.\(function)")
            }
            #expect(line?.contains("Failures.swift:") == true, "\(function): \(run.output)")
        }
    }
}
