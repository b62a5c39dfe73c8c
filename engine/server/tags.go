package server

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/millrace/millrace/engine/server/internal/state"
)

// mostTags is how many tags a stream or a consumer may have.
const mostTags = 50

type tag struct {
	Key   string
	Value string
}

// tagShapes returns tags in the order of their keys.
func tagShapes(tags map[string]string) []tag {
	shapes := make([]tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		shapes = append(shapes, tag{key, tags[key]})
	}
	return shapes
}

// checkTags refuses what no tag may be. Lengths are checked by the shapes.
func (s *Server) checkTags(tags map[string]string) error {
	for key, value := range tags {
		if !tagText(key) || !tagText(value) {
			return invalidArgument("Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + - @ :.")
		}
	}
	if len(tags) > mostTags {
		return invalidArgument("%d tags are too many: a resource under account %s cannot have more than %d tags associated with it.",
			len(tags), s.config.Account, mostTags)
	}
	return nil
}

func tagText(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" _.:/=+-@", r)
	}) < 0
}

// tagStream adds tags to an ACTIVE stream.
func (s *Server) tagStream(ctx context.Context, ref streamRef, tags map[string]string) error {
	if err := s.checkTags(tags); err != nil {
		return err
	}
	return s.change(ctx, func(ctx context.Context, c *change) error {
		v, err := c.active(ref)
		if err != nil {
			return err
		}
		d, err := v.Describe()
		if err != nil {
			return err
		}
		if maps.Copy(tags, without(d.Tags, tags)); len(tags) > mostTags {
			return invalidArgument("Failed to add tags to stream %s under account %s because a given stream cannot have more than %d tags associated with it.",
				v.name, s.config.Account, mostTags)
		}
		return v.Tag(ctx, tags)
	})
}

// without returns the tags whose keys are not in others.
func without(tags, others map[string]string) map[string]string {
	rest := maps.Clone(tags)
	maps.DeleteFunc(rest, func(key, _ string) bool { _, there := others[key]; return there })
	return rest
}

// untagStream removes tags of an ACTIVE stream. Keys that are not there are left aside.
func (s *Server) untagStream(ctx context.Context, ref streamRef, keys []string) error {
	return s.change(ctx, func(ctx context.Context, c *change) error {
		v, err := c.active(ref)
		if err != nil {
			return err
		}
		return v.Untag(ctx, keys...)
	})
}

// tagConsumer adds tags to a consumer.
func (s *Server) tagConsumer(ctx context.Context, ref consumerRef, tags map[string]string) error {
	if err := s.checkTags(tags); err != nil {
		return err
	}
	return s.changeConsumer(ctx, ref, func(c consumerView) error {
		if maps.Copy(tags, without(c.Tags, tags)); len(tags) > mostTags {
			return invalidArgument("Failed to add tags to consumer %s because a given consumer cannot have more than %d tags associated with it.", c.arn, mostTags)
		}
		c.Tags = tags
		return nil
	})
}

func (s *Server) untagConsumer(ctx context.Context, ref consumerRef, keys []string) error {
	return s.changeConsumer(ctx, ref, func(c consumerView) error {
		maps.DeleteFunc(c.Tags, func(key, _ string) bool { return slices.Contains(keys, key) })
		return nil
	})
}

// changeConsumer changes what is known of an ACTIVE consumer.
func (s *Server) changeConsumer(ctx context.Context, ref consumerRef, f func(consumerView) error) error {
	return s.change(ctx, func(ctx context.Context, c *change) error {
		one, err := c.consumer(ref)
		if err != nil {
			return err
		}
		if one.status != state.Active {
			return s.consumerBusy(one)
		}
		if err := f(one); err != nil {
			return err
		}
		return c.Save(c.now)
	})
}
