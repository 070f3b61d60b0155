import ArgumentParser
import Foundation
import Launcher

struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Looks for everything Toro needs and says what is missing.",
        discussion: "Ends with 69 if something is missing that Toro cannot do without.")

    func run() throws {
        try Toro.reporting {
            let findings = Checkup.all(device: Toro.vsockDevice, isBuilder: (try? Toro.root) != nil)
            for finding in findings {
                let mark = finding.isFine ? "ok     " : finding.isNeeded ? "missing" : "note   "
                print("\(mark)  \(finding.subject): \(finding.result)")
            }
            return findings.contains { !$0.isFine && $0.isNeeded } ? 69 : 0
        }
    }
}
