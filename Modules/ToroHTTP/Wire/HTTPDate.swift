import ToroCore

/// A point in civil time as HTTP writes it (RFC 9110 section 5.6.7), to the second.
struct HTTPDate: Equatable {
    /// Whole seconds since 1970-01-01T00:00:00Z, from the year 1 to the year 9999.
    let seconds: Int64

    private static let secondsPerDay: Int64 = 86_400
    private static let first: Int64 = -62_135_596_800
    private static let last: Int64 = 253_402_300_799

    /// The date at `seconds`, brought into the years that can be written.
    init(seconds: Int64) {
        self.seconds = min(max(seconds, HTTPDate.first), HTTPDate.last)
    }

    /// The civil date of a day number since 1970-01-01 (the calendar's cycle of 400 years is
    /// 146,097 days; years begin in March, so that the leap day is the last).
    private static func civil(_ day: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = day + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }

    /// The day number of a civil date.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = (shiftedYear >= 0 ? shiftedYear : shiftedYear - 399) / 400
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
            - 719_468
    }

    private static var weekdays: StaticString { "MonTueWedThuFriSatSun" }
    private static var months: StaticString { "JanFebMarAprMayJunJulAugSepOctNovDec" }

    /// Writes the preferred form, `Sun, 06 Nov 1994 08:49:37 GMT`.
    func emit(into writer: ByteWriter) {
        var day = seconds / HTTPDate.secondsPerDay
        var second = seconds % HTTPDate.secondsPerDay
        if second < 0 {
            second += HTTPDate.secondsPerDay
            day -= 1
        }
        let date = HTTPDate.civil(day)
        // 1970-01-01 was a Thursday; day is above -719,163.
        emitName(HTTPDate.weekdays, Int((day + 3 + 7 * 102_738) % 7), into: writer)
        writer.append(", ")
        writer.append(decimal: UInt64(date.day), digits: 2)
        writer.append(ASCII.space)
        emitName(HTTPDate.months, Int(date.month - 1), into: writer)
        writer.append(ASCII.space)
        writer.append(decimal: UInt64(date.year), digits: 4)
        writer.append(ASCII.space)
        writer.append(decimal: UInt64(second / 3_600), digits: 2)
        writer.append(ASCII.colon)
        writer.append(decimal: UInt64(second / 60 % 60), digits: 2)
        writer.append(ASCII.colon)
        writer.append(decimal: UInt64(second % 60), digits: 2)
        writer.append(" GMT")
    }

    private func emitName(_ names: StaticString, _ index: Int, into writer: ByteWriter) {
        for place in index * 3..<index * 3 + 3 { writer.append(names.byte(place)) }
    }

    /// The date written in `range`, in any of the three forms that a recipient must accept; nil
    /// if it is none.
    init?(_ bytes: RawSpan, _ range: Range<Int>) {
        var date = HTTPDate.Fields()
        guard
            date.match(bytes, range, "w, D m Y h:n:s GMT")
                || date.match(bytes, range, "W, D-m-y h:n:s GMT")
                || date.match(bytes, range, "w m d h:n:s Y"),
            let seconds = date.seconds
        else { return nil }
        self.seconds = seconds
    }

    /// The numbers of a date while it is read.
    private struct Fields {
        var year: Int64 = 0
        var month: Int64 = 0
        var day: Int64 = 0
        var hour: Int64 = 0
        var minute: Int64 = 0
        var second: Int64 = 0

        /// The point in time; nil if there is no such day or time. A leap second is taken as the
        /// second before it.
        var seconds: Int64? {
            guard year >= 1, day >= 1, hour < 24, minute < 60, second <= 60 else { return nil }
            let days = HTTPDate.days(year, month, day)
            guard HTTPDate.civil(days) == (year, month, day) else { return nil }
            return days * HTTPDate.secondsPerDay + hour * 3_600 + minute * 60 + min(second, 59)
        }

        /// Reads `range` after a pattern: `w` and `W` a weekday, short or in full, `D` two digits
        /// of a day, `d` the same with a blank for a leading zero, `m` a month's name, `Y` and `y`
        /// four or two digits of a year, `h`, `n`, `s` two digits of a time; all else stands for
        /// itself.
        mutating func match(
            _ bytes: RawSpan, _ range: Range<Int>, _ pattern: StaticString
        ) -> Bool {
            var index = range.lowerBound
            for place in 0..<pattern.byteCount {
                let code = pattern.byte(place)
                let width = HTTPDate.Fields.width(code, bytes, index..<range.upperBound)
                guard range.upperBound - index >= width else { return false }
                guard take(code, bytes, index..<index + width) else { return false }
                index += width
            }
            return index == range.upperBound
        }

        private static func width(_ code: UInt8, _ bytes: RawSpan, _ rest: Range<Int>) -> Int {
            switch code {
            case UInt8(ascii: "w"), UInt8(ascii: "m"): return 3
            case UInt8(ascii: "W"):
                return (bytes.first(ASCII.comma, in: rest) ?? rest.lowerBound) - rest.lowerBound
            case UInt8(ascii: "D"), UInt8(ascii: "d"), UInt8(ascii: "y"), UInt8(ascii: "h"),
                UInt8(ascii: "n"), UInt8(ascii: "s"):
                return 2
            case UInt8(ascii: "Y"): return 4
            default: return 1
            }
        }

        private mutating func take(_ code: UInt8, _ bytes: RawSpan, _ field: Range<Int>) -> Bool {
            switch code {
            case UInt8(ascii: "w"): return index(bytes, field, HTTPDate.weekdays) != nil
            case UInt8(ascii: "W"):
                guard field.count >= 6 else { return false }
                let short = field.lowerBound..<field.lowerBound + 3
                return index(bytes, short, HTTPDate.weekdays) != nil
            case UInt8(ascii: "m"):
                guard let place = index(bytes, field, HTTPDate.months) else { return false }
                month = Int64(place) + 1
                return true
            case UInt8(ascii: "Y"): return read(bytes, field, &year)
            case UInt8(ascii: "y"):
                guard read(bytes, field, &year) else { return false }
                // Two digits: 1970 to 2069.
                year += year < 70 ? 2_000 : 1_900
                return true
            case UInt8(ascii: "D"): return read(bytes, field, &day)
            case UInt8(ascii: "d"):
                let blank = bytes.byte(field.lowerBound) == ASCII.space
                return read(bytes, blank ? field.lowerBound + 1..<field.upperBound : field, &day)
            case UInt8(ascii: "h"): return read(bytes, field, &hour)
            case UInt8(ascii: "n"): return read(bytes, field, &minute)
            case UInt8(ascii: "s"): return read(bytes, field, &second)
            default: return bytes.byte(field.lowerBound) == code
            }
        }

        private func read(_ bytes: RawSpan, _ field: Range<Int>, _ number: inout Int64) -> Bool {
            guard let value = bytes.decimal(field) else { return false }
            number = Int64(value)
            return true
        }

        private func index(
            _ bytes: RawSpan, _ field: Range<Int>, _ names: StaticString
        ) -> Int? {
            for index in 0..<names.byteCount / 3 {
                var same = true
                for place in 0..<3
                where bytes.byte(field.lowerBound + place) != names.byte(index * 3 + place) {
                    same = false
                }
                if same { return index }
            }
            return nil
        }
    }
}
