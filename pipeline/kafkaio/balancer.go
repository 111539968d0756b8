package kafkaio

import "github.com/segmentio/kafka-go"

// targetBalancer divides partitions among the members that load into the same target as the leader of the
// group. A member with another target would separate what belongs together, so it gets nothing. Members
// that do not say what they load into count as those of the leader.
type targetBalancer struct {
	kafka.RangeGroupBalancer
	target string
	others func(members int)
}

// UserData implements kafka.GroupBalancer.
func (b targetBalancer) UserData() ([]byte, error) { return []byte(b.target), nil }

// AssignGroups implements kafka.GroupBalancer.
func (b targetBalancer) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	var own []kafka.GroupMember
	for _, m := range members {
		if b.target == "" || len(m.UserData) == 0 || string(m.UserData) == b.target {
			own = append(own, m)
		}
	}
	assigned := b.RangeGroupBalancer.AssignGroups(own, partitions)
	for _, m := range members {
		if assigned[m.ID] == nil {
			assigned[m.ID] = map[string][]int{}
		}
	}
	if n := len(members) - len(own); n > 0 && b.others != nil {
		b.others(n)
	}
	return assigned
}
